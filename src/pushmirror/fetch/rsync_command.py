"""rsync's command lines and output: argv, listing lines, statistics, exit codes.

Pure: `upstream.py` runs what is built here. Facts about versions and exit codes are in rsync(1) and rsync's
NEWS; those that were measured are named where they matter. `refused` are options, by their long names, that
upstream refuses (fetch/refusals.py): each command line does without them. At the least it uses what ftpsync
uses: recursion, links, times, filters.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pushmirror.archive.paths import Entry, Kind, is_one_line
from pushmirror.archive.release import MAX_SIZE
from pushmirror.config.model import Archive, TlsMethod
from pushmirror.config.upstream_url import Scheme
from pushmirror.errors import (
    ConnectionFailed,
    Exit,
    OptionRefused,
    PushmirrorError,
    SilentlyClosed,
    UnknownModule,
    UpstreamError,
    UpstreamFull,
    key_name,
)
from pushmirror.fetch.refusals import LETTERS, refused_option

TLS_PORT = 1873
#: What a line that names a file begins with, and no other: nobody who writes to our output can know it.
ENTRY = f">{secrets.token_hex(3)}".encode()
_MARK = ENTRY.decode()
_LISTING_FORMAT = f"{_MARK}%i %l %M %n%L"
_FETCH_FORMAT = f"{_MARK}%b %l %n"
_OUTPUT = ["--no-motd", "--8-bit-output", "--stats", "--no-human-readable"]
_FETCH_OPTIONS = ["-tpH", "--safe-links", "--chmod=D755,F644", "--partial", f"--out-format={_FETCH_FORMAT}"]
_FETCH_OPTIONS += ["--force"]  # here alone: what upstream had as a directory before is in a file's way
_BY_NAMES = ["--files-from=-", "--from0", "--ignore-missing-args"]
_BY_RULES = ["--from0", "--include-from=-", "--exclude=*"]  # none of them is sent
_NEEDED_BY_NAMES = frozenset({"files-from", "from0", "relative"})
_MUNGED = "/rsyncd-munged/"  # what --munge-links puts before a target, rsyncd.conf(5)
#: What stunnel says at the end of each transfer, for rsync's end sends it no farewell to wait for.
FAREWELL = "TIMEOUTclose exceeded"
_HERE_ONLY = frozenset({"rsh", "password-file", "contimeout", "ipv4", "ipv6", "port", "address", "sockopts"})
_CUT_OFF = {10, 12}  # RERR_SOCKETIO, RERR_STREAMIO
_OF_CONNECTION = {*_CUT_OFF, 30, 35}  # RERR_TIMEOUT, RERR_CONTIMEOUT
_CUT_OFF_WORDS = (
    "Connection reset by peer",
    "Broken pipe",
    "connection unexpectedly closed",
    "it did not answer in time",  # fetch/tls.py
    "it closed the connection",  # the same
    "EOF occurred in violation of protocol",  # Python's ssl
    "unexpected eof while reading",  # OpenSSL's, by stunnel and socat
)
_HUNG_UP = ("did not see server greeting", "didn't get server startup line")  # if no line before says why
CODE_PARTIAL, CODE_VANISHED = 23, 24


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
            # With Nagle's algorithm a question waits for the answer to the one before: 40 ms, several times.
            options += [f"--contimeout={connect_s}", "--sockopts=TCP_NODELAY,SO_KEEPALIVE"]
        case Scheme.RSYNCS:
            port = upstream.port or TLS_PORT
            is_own = archive.tls_method is TlsMethod.OWN
            carrier = "tls" if is_own else f"tls_program --method {archive.tls_method}"
            options.append(  # -P: no module comes from the directory that we were called in
                f"--rsh={_quoted(sys.executable)} -P -m pushmirror.fetch.{carrier}"
                f" --port {port} --ca {_quoted(str(archive.tls_ca))} --timeout {connect_s}"
            )
        case Scheme.RSYNC_SSH | Scheme.RSYNCD_SSH:
            options.append("--rsh=" + " ".join(map(_quoted, _ssh(archive, connect_s))))
    if archive.password_file and upstream.scheme is not Scheme.RSYNC_SSH:
        options.append(f"--password-file={archive.password_file}")
    return [*options, *archive.rsync_options]


def environment(archive: Archive) -> dict[str, str]:
    """Environment variables for rsync: passwords and the like must not be seen in a command line."""
    variables: dict[str, str] = {}
    if not archive.password_file:
        variables["RSYNC_PASSWORD"] = ""  # without one it would ask a terminal; so the daemon refuses at once
    if archive.proxy:
        variables["RSYNC_PROXY"] = archive.proxy
    return variables


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


def lists_by_itself(refused: Collection[str]) -> bool:
    """Whether a listing has rsync's own form, because a dry run is refused."""
    return "dry-run" in refused


def asks_by_rules(refused: Collection[str]) -> bool:
    """Whether files are asked for by include rules, because a list of names is refused."""
    return not _NEEDED_BY_NAMES.isdisjoint(refused)


def lists_by_bytes(refused: Collection[str]) -> bool:
    """Whether listings are in the order of protocols before 29, as openrsync's: not depth first."""
    return "prune-empty-dirs" in refused


def listing_argv(
    archive: Archive,
    filters: Sequence[str],
    empty: Path,
    *,
    is_far: bool = False,
    refused: Collection[str] = (),
) -> list[str]:
    """List upstream's tree: a dry run against an empty directory, one line a name.

    Where that is refused, without a destination: rsync's own list, whose lines have no mark. A sender is
    a thousand names ahead and then waits: a far one is asked to send them all, which costs both ends memory
    (77 MB for a million).
    """
    options = ["-rltn", *_OUTPUT]  # without --safe-links: unsafe ones are told apart here
    if is_far:
        options.append("--no-inc-recursive")
    return _listing(archive, options, filters, empty, refused)


def present_argv(archive: Archive, empty: Path, *, refused: Collection[str] = ()) -> list[str]:
    """List those of the names on standard input (see `names_asked`) that upstream has, as above."""
    options = ["-ltn", "--safe-links", *_OUTPUT]
    if asks_by_rules(refused) or lists_by_itself(refused):  # rsync takes no names without a destination
        return _listing(archive, ["-r", "--prune-empty-dirs", *options], _BY_RULES, empty, refused)
    return _listing(archive, options, _without(_BY_NAMES, refused), empty, refused)


def _listing(
    archive: Archive, options: Sequence[str], filters: Sequence[str], empty: Path, refused: Collection[str]
) -> list[str]:
    connection = transport_options(archive)
    wanted = [*_without(options, refused), *filters, *_without(connection, refused), *_added(refused)]
    if lists_by_itself(refused):
        return [archive.rsync, *wanted, source_of(archive)]
    return [archive.rsync, f"--out-format={_LISTING_FORMAT}", *wanted, source_of(archive), f"{empty}/"]


def pin_argv(
    archive: Archive, filters: Sequence[str], into: Path, *, refused: Collection[str] = ()
) -> list[str]:
    """Copy the few small files that tell upstream's state, exactly, into a directory of their own.

    Where `-I` is refused, its caller has emptied that; where `--safe-links` is, its links are munged.
    """
    options = [
        "-rltpI",  # unseen changes of equal size within one second would be taken for no change
        "--safe-links",
        "--chmod=D755,F644",
        "--delete",
        "--delete-excluded",
        "--max-size=64M",
        "--prune-empty-dirs",
        *_OUTPUT,
        *transport_options(archive),
    ]
    if "safe-links" in refused:
        options.append("--munge-links")
    wanted = [*_without(options, refused), *_added(refused), *filters]
    return [archive.rsync, *wanted, source_of(archive), f"{into}/"]


def unmunged(target: str) -> str:
    """The target of a link that was fetched with --munge-links."""
    return target.removeprefix(_MUNGED)


def fetch_argv(
    archive: Archive,
    into: Path,
    *,
    version: Version,
    basis: Path | None,
    links: bool = False,
    refused: Collection[str] = (),
) -> list[str]:
    """Fetch exactly the names on standard input (see `names_asked`) into a work area.

    A name that is gone is no error here: the caller looks at what came. `--trust-sender` drops rsync's
    guard against unasked names, which costs minutes for 40,000 of them; so nothing but the names that
    were asked for may be taken out of the work area.
    """
    options = [*_FETCH_OPTIONS, *_OUTPUT]
    options += ["-r", "--prune-empty-dirs"] if asks_by_rules(refused) else _BY_NAMES
    if version.trusts_sender:
        options.append("--trust-sender")
    if links:  # whatever they lead to: nothing in the work area is reached through one
        options = [*(option for option in options if option != "--safe-links"), "--links"]
    if basis is not None:
        options.append(f"--copy-dest={basis}")
    wanted = [*_without([*options, *transport_options(archive)], refused), *_added(refused)]
    rules = _BY_RULES if asks_by_rules(refused) else ()
    return [archive.rsync, *wanted, *rules, source_of(archive), f"{into}/"]


def files_argv(
    archive: Archive, patterns: Sequence[str], into: Path, *, largest: int, refused: Collection[str] = ()
) -> list[str]:
    """Copy files at the top of a tree that are not larger (in bytes); no link is followed or made.

    Where `--dirs` is refused, only the first is asked for, which must be a name.
    """
    options = ["--times", f"--max-size={largest}", *_OUTPUT, *transport_options(archive)]
    wanted = [*_without(options, refused), *_added(refused)]
    if "dirs" in refused:
        return [archive.rsync, *wanted, f"{source_of(archive)}{patterns[0]}", f"{into}/"]
    filters = [*(f"--include=/{pattern}" for pattern in patterns), "--exclude=*"]
    return [archive.rsync, "--dirs", "--omit-dir-times", *wanted, *filters, source_of(archive), f"{into}/"]


def probe_argv(archive: Archive, into: Path, *, version: Version, refused: Collection[str] = ()) -> list[str]:
    """Use all options that transfers use, for no file, to see which are refused."""
    argv = fetch_argv(archive, into, version=version, basis=None, refused=refused)
    return [argv[0], *_without(["-I"], refused), *argv[1:]]


def all_options(archive: Archive) -> list[str]:
    """The options that transfers send to upstream, each of which it may refuse."""
    return ["-npHI", "--safe-links", "--ignore-missing-args", *transport_options(archive)]


def named(option: str) -> Iterator[tuple[str, str]]:
    """The long name of an option and itself; of a bundle of letters each of them."""
    if option.startswith("--"):
        if (name := option[2:].partition("=")[0]) not in _HERE_ONLY:
            yield name, option
    else:
        yield from ((LETTERS[letter], f"-{letter}") for letter in option[1:] if letter in LETTERS)


def least_argv(archive: Archive, options: Sequence[str], empty: Path) -> list[str]:
    """Ask for no name, with these options and besides only with what cannot be done without."""
    connection = [
        option for option in transport_options(archive) if option[2:].partition("=")[0] in _HERE_ONLY
    ]
    least = [*([] if "--files-from=-" in options else ["-r"]), "-lt", *options, "--exclude=*", *_OUTPUT]
    return [archive.rsync, *least, *connection, source_of(archive), f"{empty}/"]


def names_asked(names: Iterable[str], refused: Collection[str], *, is_listing: bool = False) -> bytes:
    """What is to be on standard input for these tree paths, each ended by NUL."""
    if asks_by_rules(refused) or (is_listing and lists_by_itself(refused)):
        names = _rules_for(names)
    return b"".join(sorted(name.encode("utf-8", "surrogateescape") + b"\0" for name in names))


def _rules_for(names: Iterable[str]) -> Iterator[str]:
    """Include rules for these names, and for the directories on the way to them."""
    known: set[str] = set()
    for name in names:
        yield pattern_of(name)
        above = name.rpartition("/")[0]
        while above and above not in known:
            known.add(above)
            yield pattern_of(above, "/")
            above = above.rpartition("/")[0]


_WILD = re.compile(r"[*?\[\\]")


def pattern_of(path: str, tail: str = "") -> str:
    """A pattern that only this path matches, with what `tail` says below it.

    A backslash escapes only in a pattern that has wildcards.
    """
    has_wildcards = bool(set(path + tail) & set("*?["))
    literal = _WILD.sub(r"\\\g<0>", path) if has_wildcards else path
    return f"/{literal}{tail}"


def _without(options: Iterable[str], refused: Collection[str]) -> list[str]:
    """The options but for those that are refused, by their long names."""
    return [kept for option in options if (kept := _unless_refused(option, refused))]


def _unless_refused(option: str, refused: Collection[str]) -> str:
    if option.startswith("--"):
        return "" if option[2:].partition("=")[0] in refused else option
    if not option.startswith("-"):
        return option
    letters = "".join(letter for letter in option[1:] if LETTERS.get(letter) not in refused)
    return f"-{letters}" if letters else ""


def _added(refused: Collection[str]) -> list[str]:
    """Where a module refuses `no-iconv`: the option that names our character set."""
    return ["--iconv=UTF-8"] if "no-iconv" in refused else []


class Unreadable(UpstreamError):
    """A name of upstream's listing cannot be mirrored."""

    def __init__(self, name: str, *, is_directory: bool = False) -> None:
        super().__init__(f"upstream's listing has a name that cannot be mirrored: {name!r}")
        self.name = name
        self.is_directory = is_directory


#: One line of a listing; None for what is no entry. Raises Unreadable, or UpstreamError for a useless line.
ParseLine = Callable[[bytes], Entry | None]


def line_parser(refused: Collection[str]) -> ParseLine:
    """The parser for the lines of `listing_argv` and `present_argv`."""
    return parse_plain_line if lists_by_itself(refused) else parse_listing_line


_PLAIN = re.compile(  # of generator.c, list_file_entry; without --no-human-readable sizes have commas
    rb"(?P<kind>[-dlcbps])[-rwxsStT]{9}\S? +(?P<size>\d[\d,.]*) (?P<stamp>-?\d+/\d\d/\d\d \d\d:\d\d:\d\d"
    rb"|\(time out of range\)) (?P<name>.*)\Z",
    re.DOTALL,
)
_PLAIN_KINDS = {b"-": b"f", b"l": b"L"}  # rsync's letters in the one and in the other form
_KIND = len(ENTRY) + 1
_FACTS = len(ENTRY) + len(">f+++++++++ ")


def parse_listing_line(line: bytes) -> Entry | None:
    """One line of a listing; None for what is not an entry (statistics, warnings) and for the root.

    Lines look like `MARK>f+++++++++ 1234 2026/11/22-17:23:07 pool/a/alpha.deb`; a link ends in ` -> target`.
    """
    if not line.startswith(ENTRY):
        return None
    try:
        size, stamp, name = line[_FACTS:].split(b" ", 2)
        return _entry(line[_KIND : _KIND + 1], int(size), stamp, name)
    except ValueError as exc:
        raise UpstreamError(f"upstream's listing has a line that cannot be read: {line[:100]!r}") from exc


def parse_plain_line(line: bytes) -> Entry | None:
    """The same of rsync's own list: `-rw-r--r--        1234 2026/11/22 17:23:07 pool/a/alpha.deb`."""
    found = _PLAIN.match(line)
    if found is None:
        return None
    size = _number(found["size"])
    return _entry(_PLAIN_KINDS.get(found["kind"], found["kind"]), size, found["stamp"], found["name"])


def _entry(kind: bytes, size: int, stamp: bytes, name: bytes) -> Entry | None:
    match kind:
        case b"f":
            path = _nameable(name)
            if not 0 <= size <= MAX_SIZE:
                raise Unreadable(path)
            try:
                return Entry(path, Kind.FILE, size, _seconds(stamp))
            except ValueError:  # a time that no calendar has, such as of the year 10000
                raise Unreadable(path) from None
        case b"d":
            path = _nameable(name.rstrip(b"/"), is_directory=True)
            return None if path == "." else Entry(path, Kind.DIRECTORY)
        case b"L":
            path, target = _link(unescape(name), size)
            return Entry(path, Kind.LINK, 0, 0, target)
    return None  # devices and sockets have no place in an archive


def _link(text: str, length: int) -> tuple[str, str]:
    """The name and the target of `name -> target`; the target's `length` in bytes shows which arrow it is."""
    parts = text.split(" -> ")
    splits = [(" -> ".join(parts[:at]), " -> ".join(parts[at:])) for at in range(1, len(parts))]
    if len(splits) > 1:
        splits = [split for split in splits if len(split[1].encode("utf-8", "surrogateescape")) == length]
    if len(splits) != 1 or not all(map(is_one_line, splits[0])):
        raise Unreadable(text)
    return splits[0]


def _nameable(name: bytes, *, is_directory: bool = False) -> str:
    path = unescape(name)
    # rsync escapes no control characters but those of C0; C1's begin with C2.
    if any(byte in name for byte in (b"\\#", b"\xc2", b"\x7f")) and not is_one_line(path):
        raise Unreadable(path, is_directory=is_directory)
    return path


def parse_fetch_line(line: bytes) -> tuple[int, int, str] | None:
    """One line of a fetch: (bytes received, size of the file, path); None for anything else."""
    if not line.startswith(ENTRY) or line[-1:] == b"/":
        return None
    try:
        received, size, name = line[len(ENTRY) :].split(b" ", 2)
        return _number(received), _number(size), unescape(name)
    except ValueError:
        return None  # what came is looked at on the disk; this line only counts it


def _number(text: bytes) -> int:
    """A number of bytes or names; one that is absurdly large is cut to a bound."""
    digits = text.replace(b",", b"").replace(b".", b"")
    if not digits.isdigit():
        raise ValueError("expected a number")
    return min(int(digits[:_DIGITS]), MAX_SIZE + 1)


_DIGITS = len(str(MAX_SIZE)) + 1
_ESCAPED = re.compile(rb"\\#([0-3][0-7]{2})")


def unescape(name: bytes) -> str:
    r"""Undo rsync's `\#012` for characters that would break a line."""
    if b"\\#" in name:
        name = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), name)
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
_STATS = re.compile(rb"^(" + b"|".join(_STATS_NAMES) + rb"): (\d[\d,]*)")


class StatsReader:
    """Collects the statistics from the lines of an rsync's output."""

    def __init__(self) -> None:
        self._found: dict[bytes, int] = {}

    def take(self, line: bytes) -> None:
        """Look at one line."""
        if found := _STATS.match(line):
            self._found[found[1]] = _number(found[2])

    def moved(self) -> Stats:
        """The statistics so far, also of a transfer that failed."""
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
_NO_MODULE = "nknown module"  # with a capital or without
#: Those that callers tell apart; of these, ConnectionFailed may be gone in a moment.
_KINDS: dict[str, type[UpstreamError]] = {
    _FULL: UpstreamFull,
    _NO_MODULE: UnknownModule,
    **dict.fromkeys(
        (
            "Connection refused",
            "Temporary failure in name resolution",
            "No route to host",
            "Network is unreachable",
            "timed out",
            "timeout in data",
        ),
        ConnectionFailed,
    ),
}


def _meanings() -> tuple[tuple[str, str, str], ...]:
    """rsync's messages explained: (part of the message, meaning, hint); the first that fits counts."""
    return (
        (
            "auth failed",
            "upstream refuses this user or password",
            f"check {key_name('upstream.user', 'the user in `upstream`')} and {key_name('password_file')}",
        ),
        (
            _NO_MODULE,
            "upstream has no such module",
            f"check {key_name('upstream.path', 'the path in `upstream`')}: rsync://HOST/ lists modules",
        ),
        (
            _FULL,
            "upstream has reached its connection limit",
            f"try again later; {key_name('streams')} limits how many connections this archive uses",
        ),
        (
            "Connection refused",
            "nothing answers at upstream's port",
            f"check {key_name('upstream.port', 'host and port in `upstream`')}",
        ),
        (
            "Name or service not known",
            "upstream's host name does not exist",
            f"check {key_name('upstream.host', 'the host in `upstream`')}",
        ),
        ("Temporary failure in name resolution", "no name server answers", "check the network"),
        ("No route to host", "upstream's host cannot be reached", "check the network"),
        ("Network is unreachable", "upstream's host cannot be reached", "check the network"),
        (
            "timed out",
            "upstream did not answer in time",
            f"check the network, or raise {key_name('connect_timeout')} or {key_name('timeout')}",
        ),
        (
            "timeout in data",
            "upstream sent nothing for too long",
            f"check the network, or raise {key_name('timeout')}",
        ),
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
            (
                words,
                "upstream's TLS certificate is not trusted",
                f"check the host name and {key_name('tls_ca')}",
            )
            for words in (
                "CERTIFICATE_VERIFY_FAILED",  # ours
                "Subject checks failed",  # stunnel's
                "certificate verify failed",  # OpenSSL's, by stunnel and socat
                "commonName does not match",  # socat's
            )
        ),
        (
            "bad response from proxy",
            "the web proxy refused the connection",
            f"check {key_name('proxy')} and the proxy's access rules",
        ),
        (
            "could not be started: No such file",
            "a program for TLS is missing",
            f"install it, or see {key_name('tls_method')}",
        ),
        ("Host key verification failed", "upstream's ssh host key is not known", "add it to known_hosts"),
        (
            "Permission denied (publickey",
            "upstream refuses the ssh key",
            f"check {key_name('ssh_key')} and the key's line there",
        ),
        ("Permission denied", "a file or directory cannot be read or written", "check owners and modes"),
    )


def failure(exit_code: int, errors: str, *, archive: Archive, is_silent: bool = False) -> PushmirrorError:
    """The error for a failed rsync: its meaning for an operator, then rsync's own last message.

    `is_silent`: upstream had sent nothing before.
    """
    if option := refused_option(errors):
        return OptionRefused(_first_line(errors), option=option)
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = _first_line(errors)
    host = (archive.upstream and archive.upstream.host) or "upstream"
    for words, meaning, hint in _meanings():
        if line := next((line for line in lines if words in line), None):
            return _KINDS.get(words, UpstreamError)(f"{meaning}: {host}: {line}", hint=hint)
    is_cut_off = any(words in errors for words in _CUT_OFF_WORDS) or any(
        words in telling for words in _HUNG_UP
    )
    kind = ConnectionFailed if is_cut_off or exit_code in _OF_CONNECTION else UpstreamError
    if is_silent and is_cut_off and exit_code in _CUT_OFF:
        kind = SilentlyClosed
    error = kind(f"rsync from {host} ended with exit code {exit_code}: {telling or 'no error output'}")
    if exit_code < 0:
        error.exit_code = Exit.FAILED
    return error


def _first_line(errors: str) -> str:
    """The most specific line: the first one that is not just a summary."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("rsync error:")), lines[-1] if lines else "")


def is_full(errors: str) -> bool:
    """Whether upstream's daemon refused because its connection limit is reached."""
    return _FULL in errors


def is_partial(exit_code: int) -> bool:
    """Whether a transfer ended normally except for names that upstream complained about."""
    return exit_code in {CODE_PARTIAL, CODE_VANISHED}
