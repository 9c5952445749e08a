"""The text of a first pushmirror.toml, with further keys in comments. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomlkit

from pushmirror.config.model import DEBIAN_KEYRING


@dataclass(frozen=True, slots=True)
class InitAnswers:
    """The checked options of `init`."""

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
# Configuration of pushmirror. `pushmirror check` checks it.
#
# "# default:" shows a key with its default; "# example:" shows a key that has no default and is NOT set.
# To set either, remove the # and the word after it.

[mirror]
name = {name}  # public name, also the name of this mirror's file in project/trace/
# example: country = "DE"
# example: location = "Example City"
# example: sponsor = "Example Org <https://example.org>"
# example: maintainer = "Mirror Admins <mirror@example.org>"
# example: throughput = "10Gb"

{section}
[push]
key = {key}  # SSH key for pushing; sites get its .pub
# default: deadline = "10min"  # how long stage 2 waits for late sites
# default: quorum = 1.0  # share of the staged sites that stage 2 waits for
# example: addresses = ["192.0.2.1"]  # addresses that our pushes come from, for from="…" at the sites

[serve]
# default: host = {name}  # host name that sites connect to
# default: rsync = "[::]:873"
# example: certificate = "/etc/pushmirror/hub.pem"  # with certificate_key: TLS on rsync_tls = "[::]:1873"
# example: certificate_key = "/etc/pushmirror/hub.key"
# default: max_connections = 50  # per archive
# default: password_grace = "7d"  # how long an old password works after `site rotate`

[state]
directory = {state}  # the same for every user who calls pushmirror
# default: keep_runs = 500

# Each site has a file in sites.d/; `pushmirror site add` writes it.
"""

_ARCHIVE = """\
[archives.{table}]
path = {path}
# rsyncs:// for TLS, rsync+ssh:// over ssh; no upstream if the archive is made on this machine
{upstream}
{password_file}  # mode 0600, the password on its first line
{keyring}  # Release files must be signed by one of its keys{unchecked}
# example: architectures = ["amd64", "arm64", "source"]  # not set: all
# default: exclude_architectures = []
# default: exclude = []  # rsync patterns that are not mirrored; matching files here are deleted
# default: protect = []  # rsync patterns that are never deleted
# default: strategy = "auto"  # or "manifest", "index", "full"; auto: the first that upstream allows
# default: grace = "36h"  # how long files are kept that only replaced indices refer to
# default: full_every = "24h"  # how often the whole tree is scanned (with "index" also all of upstream)
# default: incomplete = "publish"  # if upstream lacks files: publish without them, or "hold" the suite
# default: weak = "publish"  # if there are only MD5 or SHA1 hashes: publish, or "hold" the suite
# default: rollback = "refuse"  # with a keyring, if upstream went back to an older state; or "warn"
# default: stale_after = "12h"  # status warns after this time without success or change; error: 3 times
# example: bandwidth_limit = "20M"  # per second: "500K", "20M", "1G", or a number of KiB; not set: no limit
# default: streams = 4  # parallel transfers, if there is much to fetch
# default: manifest = true  # offer sites a manifest, so that they fetch only what changed
# default: timeout = "120s"  # without data from upstream
# default: retries = 3  # after a failed connection: after 15 s, then doubled each time
# default: connect_timeout = "30s"

# default: [archives.{table}.delete]  # above either limit a run deletes nothing and reports it
# default: max_files = 40000
# default: max_share = 0.25  # of the files here; up to 100 files are always deleted

# example: [archives.{table}.hooks]  # argv lists
# example: after_publish = ["/usr/local/bin/announce", "published"]
"""
