"""What a suite's Release file says: the root of everything that a client will trust and fetch.

Guaranteed: a Release that parses has a SHA256 section, each of its entries names a path inside the suite
directory, a sane size and a real hash, and no two statements in it contradict each other. Whatever is not
so is MalformedFile with the number of the line. Not the business of this module: who signed it
(signature.py), and which of its files must exist (closure.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

from pushmirror.archive.digests import HASHES
from pushmirror.archive.paths import tree_path
from pushmirror.errors import MalformedFile

MAX_SIZE = 2**50  # bytes; a larger file is a mistake or a trap

_SECTIONS = {name.lower(): name for name in HASHES}  # some tools write MD5sum
_HEX = {name: re.compile(rf"[0-9A-Fa-f]{{{digits}}}") for name, digits in HASHES.items()}

_BEGIN_MESSAGE = b"-----BEGIN PGP SIGNED MESSAGE-----"
_BEGIN_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_END_SIGNATURE = b"-----END PGP SIGNATURE-----"
_HASH_HEADER = re.compile(rb"Hash: [A-Za-z0-9, -]+")
_SIGNATURE_LINE = re.compile(rb"(?:[A-Za-z0-9+/=]{1,76}|(?:Version|Comment|MessageID|Hash|Charset): .*|)")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    r"(?:[A-Z][a-z]{2}, +)?(\d{1,2}) +([A-Z][a-z]{2}) +(\d{4}) +(\d{1,2}):(\d{2}):(\d{2}) +"
    r"(?:UTC|GMT|Z|([+-])(\d{2})(\d{2}))"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a Release names."""

    path: str  # relative to the suite directory
    size: int  # bytes
    digest: str  # the strongest hash that is listed, in hexadecimal digits (see digests.py)
    others: tuple[tuple[str, str], ...] = ()  # (section as in HASHES, hexadecimal digits)


@dataclass(frozen=True, slots=True)
class Release:
    """A suite's Release file; a text field that is not there is empty."""

    origin: str
    label: str
    suite: str
    codename: str
    date: datetime | None
    valid_until: datetime | None
    acquire_by_hash: bool
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    files: Mapping[
        str, Listed
    ]  # by path, as in the SHA256 section; what only weaker sections name is left out


@dataclass(frozen=True, slots=True)
class _Field:
    line: int  # where it starts, counted from 1
    value: str  # what follows the colon
    more: tuple[str, ...]  # its continuation lines, stripped


def parse_release(data: bytes, *, where: str) -> Release:
    """Read a Release file, or the signed text of an InRelease; raises MalformedFile, naming `where`."""
    if data.startswith(b"-----BEGIN PGP"):
        raise MalformedFile(f"{where}: expected a Release text, found PGP armor around it")
    fields = _fields(data, where)
    if "sha256" not in fields:
        raise MalformedFile(f"{where}: no SHA256 section; nothing that it lists could be verified")

    def text(name: str) -> str:
        field = fields.get(name.lower())
        return " ".join((field.value, *field.more)).strip() if field else ""

    return Release(
        origin=text("Origin"),
        label=text("Label"),
        suite=text("Suite"),
        codename=text("Codename"),
        date=_date(fields.get("date"), where),
        valid_until=_date(fields.get("valid-until"), where),
        acquire_by_hash=text("Acquire-By-Hash").lower() == "yes",
        architectures=tuple(text("Architectures").split()),
        components=tuple(text("Components").split()),
        files=MappingProxyType(_files(fields, where)),
    )


def _fields(data: bytes, where: str) -> dict[str, _Field]:
    """The one paragraph of a Release file, by lower-case field name."""
    fields: dict[str, _Field] = {}
    for start, lines in _logical_lines(_text(data, where), where):
        name, colon, value = lines[0].partition(":")
        if not colon or not name or not name.isascii() or any(char <= " " for char in name):
            raise MalformedFile(f"{where}:{start}: expected 'Field: value', found {lines[0][:80]!r}")
        if name.lower() in fields:
            first = fields[name.lower()].line
            raise MalformedFile(f"{where}:{start}: the field {name} again, first on line {first}")
        fields[name.lower()] = _Field(start, value.strip(), tuple(line.strip() for line in lines[1:]))
    return fields


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise MalformedFile(
            f"{where}:{line}: expected UTF-8, found the byte 0x{data[exc.start]:02x}"
        ) from exc


def _logical_lines(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Each field's lines, with the number of the first."""
    start, lines = 0, list[str]()
    over = False  # a blank line ended the paragraph
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            over = over or bool(lines)
            continue
        if over:
            raise MalformedFile(f"{where}:{number}: expected the end of the file, found a second paragraph")
        if line[0] in " \t":
            if not lines:
                raise MalformedFile(f"{where}:{number}: a continuation line without a field")
            lines.append(line)
            continue
        if lines:
            yield start, lines
        start, lines = number, [line]
    if lines:
        yield start, lines


def _files(fields: Mapping[str, _Field], where: str) -> dict[str, Listed]:
    strong = _entries("SHA256", fields["sha256"], where)
    others: dict[str, list[tuple[str, str]]] = {path: [] for path in strong}
    for lower, field in fields.items():
        section = _SECTIONS.get(lower)
        if section is None or section == "SHA256":
            continue
        for path, (size, digest) in _entries(section, field, where).items():
            if path not in strong:
                continue
            if size != strong[path][0]:
                raise MalformedFile(
                    f"{where}: {path} has {size} bytes in {section} but {strong[path][0]} in SHA256"
                )
            others[path].append((section, digest))
    return {path: Listed(path, size, digest, tuple(others[path])) for path, (size, digest) in strong.items()}


def _entries(section: str, field: _Field, where: str) -> dict[str, tuple[int, str]]:
    """A hash section's lines: path -> (size, hash)."""
    if field.value:
        raise MalformedFile(f"{where}:{field.line}: expected the {section} list on lines of its own")
    entries: dict[str, tuple[int, str]] = {}
    valid = _HEX[section].fullmatch
    for number, line in enumerate(field.more, field.line + 1):
        columns = line.split()
        if len(columns) != 3:
            raise MalformedFile(f"{where}:{number}: expected 'hash size path', found {line[:80]!r}")
        digest, raw_size, raw_path = columns
        if not valid(digest):
            raise MalformedFile(f"{where}:{number}: expected a {section} hash, found {digest[:140]!r}")
        path = tree_path(raw_path, where=f"{where}:{number}")
        entry = (checked_size(raw_size, where=f"{where}:{number}"), digest.lower())
        if entries.setdefault(path, entry) != entry:
            raise MalformedFile(f"{where}:{number}: {path} again in {section}, with another size or hash")
    return entries


def checked_size(raw: str, *, where: str) -> int:
    """The number of bytes that a decimal text names; raises MalformedFile for anything else."""
    if raw.isascii() and raw.isdigit() and len(raw) <= 20:
        size = int(raw)
        if size <= MAX_SIZE:
            return size
    raise MalformedFile(f"{where}: expected a size in bytes (at most 2**50), found {raw[:40]!r}")


def _date(field: _Field | None, where: str) -> datetime | None:
    if field is None:
        return None
    match = _DATE.fullmatch(field.value)
    problem = MalformedFile(
        f"{where}:{field.line}: expected a date such as 'Sat, 11 Jul 2026 10:16:37 UTC', "
        f"found {field.value[:60]!r}"
    )
    if match is None or match[2] not in _MONTHS:
        raise problem
    day, _, year, hour, minute, second = match.groups()[:6]
    offset = timedelta(hours=int(match[8] or 0), minutes=int(match[9] or 0))
    try:
        zone = timezone(-offset if match[7] == "-" else offset)
        local = datetime(
            int(year), _MONTHS.index(match[2]) + 1, int(day), int(hour), int(minute), int(second), tzinfo=zone
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise problem from exc


def split_clearsigned(data: bytes, *, where: str) -> bytes:
    """The signed text of an InRelease: all that the signature covers, and nothing that it does not.

    Dash escapes are undone, white space at the ends of lines (which OpenPGP does not sign) is dropped, each
    line ends in a newline. Exactly one message is accepted, with nothing around it, so that no reader of the
    file can take for signed what gpgv did not look at. Raises MalformedFile.
    """
    lines = data.split(b"\n")
    if lines[0] != _BEGIN_MESSAGE:
        raise MalformedFile(f"{where}:1: expected {_BEGIN_MESSAGE.decode()}, found {_start(lines[0])}")
    at = 1
    while at < len(lines) and _HASH_HEADER.fullmatch(lines[at]):
        at += 1
    if at == len(lines) or lines[at]:
        raise MalformedFile(
            f"{where}:{at + 1}: expected a Hash header or an empty line after the armor header"
        )
    try:
        end = lines.index(_BEGIN_SIGNATURE, at + 1)
    except ValueError:
        raise MalformedFile(f"{where}: no {_BEGIN_SIGNATURE.decode()}; it is cut off") from None
    text = [_unescaped(line, f"{where}:{number}") for number, line in enumerate(lines[at + 1 : end], at + 2)]
    _check_signature_block(lines, end + 1, where)
    return b"".join(line + b"\n" for line in text)


def _unescaped(line: bytes, where: str) -> bytes:
    if line.startswith(b"- "):
        line = line[2:]
    elif line.startswith(b"-"):
        raise MalformedFile(f"{where}: expected signed text, found the unescaped line {_start(line)}")
    return line.rstrip(b" \t\r")


def _check_signature_block(lines: list[bytes], at: int, where: str) -> None:
    for number, line in enumerate(lines[at:], at + 1):
        if line == _END_SIGNATURE:
            if any(rest.strip() for rest in lines[number:]):
                raise MalformedFile(f"{where}:{number}: expected the end of the file after the signature")
            return
        if not _SIGNATURE_LINE.fullmatch(line):
            raise MalformedFile(f"{where}:{number}: expected a line of the signature, found {_start(line)}")
    raise MalformedFile(f"{where}: no {_END_SIGNATURE.decode()}; it is cut off")


def _start(line: bytes) -> str:
    return ascii(line[:60].decode("utf-8", "replace"))


def suite_text_agrees(in_release: bytes, release: bytes) -> bool:
    """Whether an InRelease and the detached Release beside it carry the same text.

    White space at the ends of lines and of the file does not count. Raises MalformedFile for an InRelease
    that is no clear-signed message.
    """
    signed = split_clearsigned(in_release, where="InRelease")
    return _trimmed(signed) == _trimmed(release)


def _trimmed(text: bytes) -> list[bytes]:
    return [line.rstrip(b" \t\r") for line in text.rstrip().split(b"\n")]
