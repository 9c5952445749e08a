"""The text of a first pushmirror.toml, with what else can be said in comments. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomlkit


@dataclass(frozen=True, slots=True)
class Answers:
    """What `init` was told."""

    mirror_name: str
    archive: str
    path: Path  # of the tree
    upstream: str | None  # a URL; none: this machine is the archive's owner
    password_file: Path | None
    key: Path | None  # none: the default
    state: Path | None  # none: the default


def render(answers: Answers) -> str:
    """The file's text."""
    return _TEXT.format(
        name=_quoted(answers.mirror_name),
        archive=answers.archive,
        table=tomlkit.key(answers.archive).as_string(),
        path=_quoted(answers.path),
        upstream=_line("upstream", answers.upstream, "rsync://USER@hub.example.org/debian"),
        password_file=_line("password_file", answers.password_file, "/etc/pushmirror/upstream.secret"),
        key=_line("key", answers.key, "~/.ssh/pushmirror"),
        state=_line("directory", answers.state, "/var/lib/pushmirror"),
    )


def _line(key: str, value: object, example: str) -> str:
    return f"# {key} = {_quoted(example)}" if value is None else f"{key} = {_quoted(value)}"


def _quoted(value: object) -> str:
    return tomlkit.string(str(value)).as_string()


_TEXT = """\
# Configuration of pushmirror. `pushmirror check` says whether it is right.
# What is commented out shows the default, or an example where there is none.

[mirror]
name = {name}  # name of this mirror's file in project/trace/
# country = "DE"
# location = "Example City"
# sponsor = "Example Org <https://example.org>"
# maintainer = "Mirror Admins <mirror@example.org>"
# throughput = "10Gb"

[archives.{table}]
path = {path}
# rsyncs:// for TLS, rsync+ssh:// over ssh; none when this machine is where the archive is made
{upstream}
{password_file}  # mode 0600, the password on its first line
# keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"  # Release files must be signed by one of it
# architectures = ["amd64", "arm64", "source"]  # default: all
# exclude_architectures = []
# exclude = []  # rsync patterns that are not mirrored; what of them is here goes
# protect = []  # rsync patterns that are never deleted
# strategy = "auto"
# grace = "36h"  # how long files stay that only replaced indices refer to
# full_every = "24h"
# bandwidth_limit = "20M"  # bytes per second; default: none
# timeout = "120s"  # without a byte from upstream
# connect_timeout = "30s"

# [archives.{table}.delete]  # beyond either of these a run deletes nothing, and says so
# max_files = 40000
# max_share = 0.25

# [archives.{table}.hooks]  # argv lists
# after_publish = ["/usr/local/bin/announce", "published"]

[push]
{key}  # made by `pushmirror init`; its .pub goes to the sites
# deadline = "10min"  # how long stage 2 waits for late sites

[state]
{state}
# keep_runs = 500

# One file per downstream site goes into sites.d/, such as sites.d/site1.example.com.toml:
#   host = "site1.example.com"
#   user = "archvsync"
#   push = "staged"  # all | staged | mhop | none
#   archives = ["{archive}"]
"""
