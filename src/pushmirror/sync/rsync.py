"""What we say to rsync, and what it says to us: argv, listing lines, statistics, exit codes.

Pure: `upstream.py` runs what is built here. Facts about versions and exit codes are in rsync(1) and
rsync's NEWS; those that were measured are named where they matter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pushmirror.archive.entry import Entry, Kind
from pushmirror.config.model import Archive, TlsMethod
from pushmirror.config.upstream import Scheme
from pushmirror.errors import Exit, PushmirrorError, UpstreamError, UpstreamFull

TLS_PORT = 1873
ENTRY = b">"  # what a line that names a file begins with, and no other
_LISTING_FORMAT = ">%i %l %M %n%L"
_FETCH_FORMAT = ">%b %l %n"
_FETCH_OPTIONS = [
    *("-tpH", "--safe-links", "--chmod=D755,F644", "--partial", "--8-bit-output"),
    *(f"--out-format={_FETCH_FORMAT}", "--stats", "--no-human-readable"),
]
#: What stunnel says at the end of each transfer, for rsync's end sends it no farewell to wait for.
FAREWELL = "TIMEOUTclose exceeded"
_CODE_PARTIAL, _CODE_VANISHED = 23, 24


@dataclass(frozen=True, slots=True)
class Version:
    """A version of rsync, and what it can be trusted with."""

    number: tuple[int, int, int]

    def __str__(self) -> str:
        return ".".join(map(str, self.number))

    @property
    def trusts_sender(self) -> bool:
        """--trust-sender: names are not checked again and again against the list that was asked for."""
        return self.number >= (3, 2, 5)


def parse_version(text: str) -> Version:
    """The version from the first line of `rsync --version`."""
    found = re.search(r"version v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise UpstreamError(f"this is not rsync: its --version begins with {text[:60]!r}")
    return Version((int(found[1]), int(found[2]), int(found[3] or 0)))


def source_of(archive: Archive) -> str:
    """The operand that names upstream's tree, with the slash that makes it the content, not the directory.

    Without that slash `mod/debian` would create `TREE/debian` (archvsync.md, 32).
    """
    upstream = archive.upstream
    assert upstream is not None
    login = f"{upstream.user}@" if upstream.user else ""
    match upstream.scheme:
        case Scheme.RSYNC:
            return f"{upstream}/"
        case Scheme.RSYNCS | Scheme.RSYNCD_SSH:
            return f"{login}{upstream.host_in_url}::{upstream.path}/"
        case Scheme.FILE:
            return f"{upstream.path}/"
        case Scheme.RSYNC_SSH:
            return f"{login}{upstream.host_in_url}:{upstream.path}/"


def transport_options(archive: Archive) -> list[str]:
    """How the connection is made: password file, TLS or ssh, time limits."""
    upstream = archive.upstream
    assert upstream is not None
    options = [f"--timeout={int(archive.timeout.total_seconds())}"]
    if archive.bandwidth_limit:
        options.append(f"--bwlimit={archive.bandwidth_limit}")
    connect_s = int(archive.connect_timeout.total_seconds())
    match upstream.scheme:
        case Scheme.RSYNC:
            options.append(f"--contimeout={connect_s}")
        case Scheme.RSYNCS:
            port = upstream.port or TLS_PORT
            is_own = archive.tls_method is TlsMethod.OWN
            carrier = "tls" if is_own else f"tunnel --method {archive.tls_method}"
            options.append(  # -P: no module comes from the directory that we were called in
                f"--rsh={_quoted(sys.executable)} -P -m pushmirror.sync.{carrier}"
                f" --port {port} --ca {_quoted(str(archive.tls_ca))} --timeout {connect_s}"
            )
        case Scheme.RSYNC_SSH | Scheme.RSYNCD_SSH:
            options.append("--rsh=" + " ".join(map(_quoted, _ssh(archive, connect_s))))
    if archive.password_file and upstream.scheme is not Scheme.RSYNC_SSH:
        options.append(f"--password-file={archive.password_file}")
    return [*options, *archive.rsync_options]


def environment(archive: Archive) -> dict[str, str]:
    """What rsync is told by its environment, for some of it may not be seen in a command line."""
    told: dict[str, str] = {}
    if not archive.password_file:
        told["RSYNC_PASSWORD"] = ""  # without one it would ask a terminal; so the daemon refuses at once
    if archive.proxy:
        told["RSYNC_PROXY"] = archive.proxy
    return told


def _ssh(archive: Archive, connect_s: int) -> list[str]:
    assert archive.upstream is not None
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={connect_s}"]
    if archive.upstream.port:
        words += ["-p", str(archive.upstream.port)]
    if archive.ssh_key:
        words += ["-i", str(archive.ssh_key), "-o", "IdentitiesOnly=yes"]
    return [*words, *archive.ssh_options]


def _quoted(word: str) -> str:
    """A word as rsync reads it in --rsh, which it splits at blanks outside of quotes."""
    return '"' + word.replace('"', '""') + '"' if set(word) & set(" '\"") else word


def listing_argv(archive: Archive, filters: Sequence[str], empty: Path, *, is_far: bool = False) -> list[str]:
    """List upstream's tree: a dry run against an empty directory, one line a name.

    Not `--list-only`: that cannot tell a file named `a -> b` from a link. A sender is a thousand names ahead
    and then waits: a far one is told to send them all, which costs both ends memory (77 MB for a million).
    """
    options = ["-rltn", "--8-bit-output", "--stats", "--no-human-readable"]
    if is_far:
        options.append("--no-inc-recursive")
    wanted = [f"--out-format={_LISTING_FORMAT}", *filters, *transport_options(archive)]
    return [archive.rsync, *options, *wanted, source_of(archive), f"{empty}/"]


def present_argv(archive: Archive, empty: Path) -> list[str]:
    """List those of the names on standard input (NUL-separated) that upstream has, as `listing_argv` does."""
    options = ["-ltn", "--8-bit-output", "--safe-links", "--stats", "--no-human-readable"]
    wanted = ["--files-from=-", "--from0", "--ignore-missing-args", f"--out-format={_LISTING_FORMAT}"]
    return [archive.rsync, *options, *wanted, *transport_options(archive), source_of(archive), f"{empty}/"]


def pin_argv(archive: Archive, filters: Sequence[str], into: Path) -> list[str]:
    """Copy the few small files that tell upstream's state, exactly, into a directory of their own."""
    options = [
        "-rltpI",  # unseen changes of equal size within one second would be taken for no change
        "--safe-links",
        "--chmod=D755,F644",
        "--delete",
        "--delete-excluded",
        "--max-size=64M",
    ]
    return [
        *(archive.rsync, *options, "--prune-empty-dirs", "--stats", "--no-human-readable"),
        *(*filters, *transport_options(archive), source_of(archive), f"{into}/"),
    ]


def fetch_argv(
    archive: Archive, into: Path, *, version: Version, basis: Path | None, links: bool = False
) -> list[str]:
    """Fetch exactly the names on standard input (NUL-separated) into a work area.

    A name that is gone is no error here: the caller looks at what came. `--trust-sender` drops rsync's
    guard against unasked names, which costs minutes for 40,000 of them; so nothing but the names that
    were asked for may be taken out of the work area.
    """
    options = [*_FETCH_OPTIONS, "--files-from=-", "--from0", "--ignore-missing-args"]
    if version.trusts_sender:
        options.append("--trust-sender")
    if links:  # whatever they lead to: nothing in the work area is reached through one
        options = [*(option for option in options if option != "--safe-links"), "--links"]
    if basis is not None:
        options.append(f"--copy-dest={basis}")
    return [archive.rsync, *options, *transport_options(archive), source_of(archive), f"{into}/"]


def parse_listing_line(line: bytes) -> Entry | None:
    """One line of a listing; None for what is not an entry (statistics, warnings) and for the root.

    Lines look like `>>f+++++++++ 1234 2026/11/22-17:23:07 pool/a/alpha.deb`; a link ends in ` -> target`.
    """
    if line[:1] != ENTRY:
        return None
    try:
        return _entry(line)
    except ValueError as exc:
        raise UpstreamError(f"upstream's listing has a line that cannot be read: {line[:100]!r}") from exc


def _entry(line: bytes) -> Entry | None:
    size, stamp, name = line[13:].split(b" ", 2)
    match line[2:3]:
        case b"f":
            return Entry(_unescape(name), Kind.FILE, int(size), _seconds(stamp))
        case b"d":
            path = _unescape(name.rstrip(b"/"))
            return None if path == "." else Entry(path, Kind.DIRECTORY, 0, _seconds(stamp))
        case b"L":
            path, arrow, target = _unescape(name).partition(" -> ")
            if not arrow or " -> " in target:
                raise UpstreamError(f"upstream has a link that cannot be read: {_unescape(name)!r}")
            return Entry(path, Kind.LINK, 0, _seconds(stamp), target)
    return None  # devices and sockets have no place in an archive


def parse_fetch_line(line: bytes) -> tuple[int, int, str] | None:
    """One line of a fetch: (bytes received, size of the file, path); None for anything else."""
    if line[:1] != ENTRY or line[-1:] == b"/":
        return None
    received, size, name = line[1:].split(b" ", 2)
    return int(received), int(size), _unescape(name)


_ESCAPED = re.compile(rb"\\#(\d{3})")


def _unescape(name: bytes) -> str:
    r"""Undo rsync's `\#012` for characters that would break a line."""
    if b"\\#" in name:
        name = _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), name)
    return name.decode("utf-8", "surrogateescape")


def _seconds(stamp: bytes) -> int:
    """Seconds since the epoch of `2026/11/22-17:23:07` (rsync runs with TZ=UTC)."""
    return _day(stamp[:-9]) + int(stamp[-8:-6]) * 3600 + int(stamp[-5:-3]) * 60 + int(stamp[-2:])


@lru_cache(maxsize=8192)
def _day(stamp: bytes) -> int:
    return int(datetime.strptime(stamp.decode(), "%Y/%m/%d").replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Stats:
    """What `--stats` says at the end of a transfer."""

    files: int  # names that upstream has (of those that were asked for)
    bytes_received: int
    bytes_sent: int


_STATS_NAMES = (b"Number of files", b"Total bytes received", b"Total bytes sent")
_STATS = re.compile(rb"^(" + b"|".join(_STATS_NAMES) + rb"): ([\d,]+)")


class StatsReader:
    """Collects the statistics from the lines of an rsync's output."""

    def __init__(self) -> None:
        self._found: dict[bytes, int] = {}

    def take(self, line: bytes) -> None:
        """Look at one line."""
        if found := _STATS.match(line):
            self._found[found[1]] = int(found[2].replace(b",", b""))

    def moved(self) -> Stats:
        """What is known of the transfer, also of one that came to nothing."""
        found = self._found.get
        return Stats(
            files=found(b"Number of files", 0),
            bytes_received=found(b"Total bytes received", 0),
            bytes_sent=found(b"Total bytes sent", 0),
        )

    def stats(self) -> Stats:
        """The statistics. UpstreamError if there were none: no transfer took place, whatever the exit code.

        A daemon (or a proxy before it) that answers `@RSYNCD: EXIT` makes rsync end with exit code 0.
        """
        if len(self._found) < len(_STATS_NAMES):
            raise UpstreamError(
                "upstream closed the connection without sending anything (rsync's exit code was 0)",
                hint="ask the upstream operator whether the module still exists",
            )
        return self.moved()


_FULL = "max connections"
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    # (in rsync's words, what it means, what to do)
    (
        "auth failed",
        "upstream refuses this user or password",
        "check the user in `upstream` and `password_file`",
    ),
    (
        "Unknown module",
        "upstream has no such module",
        "check the path in `upstream`: rsync://HOST/ lists modules",
    ),
    (
        _FULL,
        "upstream has too many connections now",
        "try again later; the archive's `streams` is how many of them may be ours",
    ),
    ("Connection refused", "nothing answers at upstream's port", "check host and port in `upstream`"),
    ("Name or service not known", "upstream's host name does not exist", "check the host in `upstream`"),
    ("No route to host", "upstream's host cannot be reached", "check the network"),
    ("Network is unreachable", "upstream's host cannot be reached", "check the network"),
    (
        "timed out",
        "upstream did not answer in time",
        "check the network, or raise `connect_timeout` or `timeout`",
    ),
    ("timeout in data", "upstream said nothing for too long", "check the network, or raise `timeout`"),
    (
        "No space left on device",
        "the disk is full",
        "free space on the tree's file system; nothing was published",
    ),
    ("Disk quota exceeded", "the disk quota is used up", "free space on the tree's file system"),
    (
        "Read-only file system",
        "the tree's file system is read-only",
        "check the disk and mount it read-write",
    ),
    ("password file", "the password file cannot be used", "check its owner and mode (0600)"),
    *(
        (words, "upstream's TLS certificate is not trusted", "check the host name and `tls_ca`")
        for words in (
            "CERTIFICATE_VERIFY_FAILED",  # ours
            "Subject checks failed",  # stunnel's
            "certificate verify failed",  # OpenSSL's, by stunnel and socat
            "commonName does not match",  # socat's
        )
    ),
    ("bad response from proxy", "the web proxy does not let us through", "check `proxy`, and who may use it"),
    ("could not be started: No such file", "a program for TLS is missing", "install it, or see `tls_method`"),
    ("Host key verification failed", "upstream's ssh host key is not known", "add it to known_hosts"),
    (
        "Permission denied (publickey",
        "upstream refuses the ssh key",
        "check `ssh_key` and the key's line there",
    ),
    ("Permission denied", "a file or directory cannot be read or written", "check owners and modes"),
)


def failure(exit_code: int, errors: str, *, archive: Archive) -> PushmirrorError:
    """What rsync's end means, in an operator's words, with rsync's own last words behind."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = next(
        (line for line in lines if not line.startswith("rsync error:")), lines[-1] if lines else ""
    )
    host = (archive.upstream and archive.upstream.host) or "upstream"
    for words, meaning, hint in _MEANINGS:
        if line := next((line for line in lines if words in line), None):
            kind = UpstreamFull if words == _FULL else UpstreamError
            return kind(f"{meaning}: {host}: {line}", hint=hint)
    error = UpstreamError(
        f"rsync from {host} ended with exit code {exit_code}: {telling or 'it printed no error'}"
    )
    if exit_code < 0:
        error.exit_code = Exit.FAILED
    return error


def is_full(errors: str) -> bool:
    """Whether upstream's daemon refused because it has as many connections as it may have."""
    return _FULL in errors


def is_vanished(exit_code: int, errors: str) -> bool:
    """Whether nothing worse happened than that names went away at upstream while rsync was running."""
    if exit_code == _CODE_VANISHED:
        return True
    complaints = [line for line in errors.splitlines() if line.startswith("rsync: ")]
    if exit_code != _CODE_PARTIAL or not complaints:
        return False
    return all("No such file or directory" in line for line in complaints)
