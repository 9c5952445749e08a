"""The text of a first pushmirror.toml, with what else can be said in comments. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomlkit

from pushmirror.config.model import DEBIAN_KEYRING


@dataclass(frozen=True, slots=True)
class InitAnswers:
    """What `init` was told."""

    mirror_name: str
    archive: str
    path: Path  # of the tree
    upstream: str | None  # a URL; none: this machine is the archive's owner
    password_file: Path | None
    keyring: Path | None
    key: Path
    state: Path


def render(answers: InitAnswers) -> str:
    """The file's text."""
    return _TEXT.format(
        name=_quoted(answers.mirror_name),
        archive=answers.archive,
        section=render_archive(answers),
        key=_quoted(answers.key),
        state=_quoted(answers.state),
    )


def render_archive(answers: InitAnswers) -> str:
    """The text of the archive's section alone."""
    return _ARCHIVE.format(
        table=tomlkit.key(answers.archive).as_string(),
        path=_quoted(answers.path),
        upstream=_line("upstream", answers.upstream, "rsync://USER@hub.example.org/debian"),
        password_file=_line("password_file", answers.password_file, "/etc/pushmirror/upstream.secret"),
        keyring=_line("keyring", answers.keyring, DEBIAN_KEYRING),
        unchecked="" if answers.keyring else "; without it signatures are NOT checked",
    )


def _line(key: str, value: object, example: str) -> str:
    return f"# example: {key} = {_quoted(example)}" if value is None else f"{key} = {_quoted(value)}"


def _quoted(value: object) -> str:
    return tomlkit.string(str(value)).as_string()


_TEXT = """\
# Configuration of pushmirror. `pushmirror check` says whether it is right.
#
# "# default:" shows what holds anyway; "# example:" shows a key that has no default and is NOT set.
# To set either, take away the # and the word behind it.

[mirror]
name = {name}  # public name, and that of this mirror's file in project/trace/
# example: country = "DE"
# example: location = "Example City"
# example: sponsor = "Example Org <https://example.org>"
# example: maintainer = "Mirror Admins <mirror@example.org>"
# example: throughput = "10Gb"

{section}
[push]
key = {key}  # made by `pushmirror init`; its .pub goes to the sites
# default: deadline = "10min"  # how long stage 2 waits for late sites
# default: quorum = 1.0  # the share of the staged sites that stage 2 waits for
# example: addresses = ["192.0.2.1"]  # where our pushes come from, for from="…" at the sites

[serve]
# default: host = {name}  # the name that sites reach us by
# default: rsync = "[::]:873"
# example: certificate = "/etc/pushmirror/hub.pem"  # with its key: TLS on rsync_tls = "[::]:1873"
# example: certificate_key = "/etc/pushmirror/hub.key"
# default: max_connections = 50  # per archive
# default: password_grace = "7d"  # how long an old password works after `site rotate`

[state]
directory = {state}  # the same for whoever calls pushmirror
# default: keep_runs = 500

# Each downstream site has a file in sites.d/: `pushmirror site add` writes it.
"""

_ARCHIVE = """\
[archives.{table}]
path = {path}
# rsyncs:// for TLS, rsync+ssh:// over ssh; none when this machine is where the archive is made
{upstream}
{password_file}  # mode 0600, the password on its first line
{keyring}  # Release files must be signed by one of its keys{unchecked}
# example: architectures = ["amd64", "arm64", "source"]  # not set: all
# default: exclude_architectures = []
# default: exclude = []  # rsync patterns that are not mirrored; what of them is here goes
# default: protect = []  # rsync patterns that are never deleted
# default: strategy = "auto"  # the first of "manifest", "index", "full" that upstream allows; or one of these
# default: grace = "36h"  # how long files stay that only replaced indices refer to
# default: full_every = "24h"  # how often the whole disk is looked at, after "index" all of upstream, too
# default: incomplete = "publish"  # a state of which upstream lacks files in two looks; or "hold" it back
# default: weak = "publish"  # a state that has no hashes stronger than MD5 or SHA1; or "hold" it back
# default: rollback = "refuse"  # with a keyring: a state older than the one here; or "warn" and publish it
# default: stale_after = "12h"  # status warns so long after the last success or change; error: three times
# example: bandwidth_limit = "20M"  # per second: "500K", "20M", "1G", or a number of KiB; not set: no limit
# default: streams = 4  # transfers at a time, where there is much to fetch
# default: manifest = true  # sites are offered a manifest, by which they fetch only what changed
# default: timeout = "120s"  # with next to nothing from upstream
# default: retries = 3  # after a connection that failed; 15 s later, and twice as long each further time
# default: connect_timeout = "30s"

# default: [archives.{table}.delete]  # beyond either of these a run deletes nothing, and says so
# default: max_files = 40000
# default: max_share = 0.25  # of the files here; 100 files or fewer always go

# example: [archives.{table}.hooks]  # argv lists
# example: after_publish = ["/usr/local/bin/announce", "published"]
"""
