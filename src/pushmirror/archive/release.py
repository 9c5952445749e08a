"""Parse a suite's Release file: the root of everything that a client will trust and fetch.

Accepted is what apt accepts (2.6, tried): of several paragraphs the first counts, of a field that is there
twice the last, of an entry that is there twice the first; a file is known by the strongest of its hashes; a
date that cannot be read is None. Guaranteed: each entry names a path inside the suite directory, a sane size
and a real hash; one that does not is refused alone, with the reason. Entries for the Release files themselves
are of an older state and ignored. Not the business of this module: who signed it (archive/signature.py), and
which of its files must exist (archive/index.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

from pushmirror.archive.paths import HASHES, inside, name_of
from pushmirror.errors import MalformedFile, NotASuite

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UTC = {"utc", "gmt", "z", "ut"}
_DIGITS = re.compile(r"[0-9]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")


def read_date(text: str) -> datetime | None:
    """A date as of RFC 5322, `date`, ctime(3) or ISO 8601, in UTC; None for anything else.

    One without a zone is taken as UTC; one with the name of another zone is not guessed at.
    """
    with suppress(ValueError, OverflowError):
        return _iso(text) if text[:4].isdigit() else _words(text)
    return None


def _iso(text: str) -> datetime:
    plain = re.sub(r"\s*(UTC|GMT)$", "Z", text.strip())
    found = datetime.fromisoformat(plain)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _words(text: str) -> datetime:
    """The words of a date in any order; ValueError when one is missing, twice or none of a date."""
    found: dict[str, tuple[int, ...]] = {}
    for word in text.replace(",", " ").lower().split():
        kind, numbers = _word(word)
        if kind in found:
            raise ValueError(text)
        found[kind] = numbers
    if not found.keys() >= {"year", "month", "day", "time"}:
        raise ValueError(text)
    (year,), (month,), (day,) = found["year"], found["month"], found["day"]
    hours, minutes = found.get("zone", (0, 0))
    zone = timezone(timedelta(hours=hours, minutes=minutes))
    hour, minute, second = found["time"]
    return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)


def _word(word: str) -> tuple[str, tuple[int, ...]]:
    """What one word of a date is, and its numbers; ValueError when it is none."""
    if word in _UTC:
        return "zone", (0, 0)
    if word[:3] in _DAYS and word.isalpha():
        return "weekday", ()
    if word[:3] in _MONTHS and word.isalpha():
        return "month", (_MONTHS.index(word[:3]) + 1,)
    if time := _TIME.fullmatch(word):
        return "time", (int(time[1]), int(time[2]), int(time[3] or 0))
    if offset := _OFFSET.fullmatch(word):
        sign = -1 if offset[1] == "-" else 1
        return "zone", (sign * int(offset[2]), sign * int(offset[3]))
    if _DIGITS.fullmatch(word) and len(word) in {1, 2, 4}:
        return ("year" if len(word) == 4 else "day"), (int(word),)
    raise ValueError(word)


MAX_SIZE = 2**50  # bytes; a larger file is a mistake or a trap
MAX_RELEASE = 2**26  # bytes; the largest of Debian's and Ubuntu's have less than 1 MiB
MAX_LISTED = 100_000  # files in a section; theirs have less than 10,000

_STRONG, _WEAK = ("SHA256", "SHA512"), ("SHA1", "MD5Sum")  # apt trusts no Release that has only the latter
_SECTIONS = {name.lower(): name for name in HASHES}  # some tools write MD5sum
_HEX = {name: re.compile(rf"[0-9A-Fa-f]{{{digits}}}") for name, digits in HASHES.items()}
_ITSELF = {"Release", "InRelease", "Release.gpg"}  # `apt-ftparchive release` lists what it finds, old ones
_FIELD_NAME = re.compile(r"[A-Za-z0-9][!-9;-~]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_Entry = tuple[int, str]  # size, hash


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a Release names."""

    path: str  # relative to the suite directory
    size: int  # bytes
    digest: str  # the strongest hash that is listed, in hexadecimal digits (see archive/paths.py)
    others: tuple[tuple[str, str], ...] = ()  # (section as in HASHES, hexadecimal digits)


@dataclass(frozen=True, slots=True)
class Release:
    """A suite's Release file; a text field that is not there is empty."""

    origin: str
    suite: str
    codename: str
    date: datetime | None  # None also where it cannot be read
    valid_until: datetime | None
    acquire_by_hash: bool
    architectures: tuple[str, ...]
    files: Mapping[str, Listed]  # by path; what only sections name that are not asked is left out
    weak: str = ""  # MD5Sum or SHA1, where no stronger hash is listed: nothing of it can be called verified
    refused: tuple[str, ...] = ()  # entries that are not given, each with its line and the reason


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the paragraph."""

    lines: list[tuple[int, str]]  # its text without the blanks around it, with the number of each line


def by_hash_paths(listed: Listed) -> tuple[tuple[str, str], ...]:
    """Where else a file can be fetched, per hash: (MD5Sum | SHA1 | SHA256 | SHA512, path in the suite)."""
    directory = listed.path.rpartition("/")[0]
    prefix = f"{directory}/by-hash" if directory else "by-hash"
    digests = {**dict(listed.others), name_of(listed.digest): listed.digest}
    return tuple((name, f"{prefix}/{name}/{digests[name]}") for name in HASHES if name in digests)


def parse_release(data: bytes, *, where: str) -> Release:
    """Read a Release file, or the signed text of an InRelease.

    Raises MalformedFile, naming `where`, for what is no Release, is cut off or lists more than MAX_LISTED
    files, and NotASuite for one that has no section of hashes.
    """
    if data.startswith(b"-----BEGIN PGP"):
        raise MalformedFile(f"{where}: expected a Release text, found PGP armor around it")
    fields = _fields(data)
    if not fields:
        found = ascii(data[:60].decode("utf-8", "replace")) if data else "nothing"
        raise MalformedFile(f"{where}: expected 'Field: value' lines, found {found}")
    sections = {name: fields[lower] for lower, name in _SECTIONS.items() if lower in fields}
    if not sections:
        raise NotASuite(f"{where}: lists no files (no SHA256 or other hash section)")
    refused: dict[int, str] = {}
    entries = {name: _entries(name, field, refused, where) for name, field in sections.items()}
    last = data.count(b"\n") + 1  # the line that has no end
    if last in refused:
        raise MalformedFile(f"{refused[last]}; truncated")
    asked = [name for name in _STRONG if entries.get(name)]
    weak = [] if asked else [name for name in _WEAK if entries.get(name)]

    def text(name: str) -> str:
        field = fields.get(name.lower())
        whole = " ".join(line for _, line in field.lines) if field else ""
        return whole.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    return Release(
        origin=text("Origin"),
        suite=text("Suite"),
        codename=text("Codename"),
        date=read_date(text("Date")),
        valid_until=read_date(text("Valid-Until")),
        acquire_by_hash=text("Acquire-By-Hash").lower() == "yes",
        architectures=tuple(text("Architectures").split()),
        files=MappingProxyType(_files(entries, asked or weak)),
        weak=weak[0] if weak else "",
        refused=tuple(reason for _, reason in sorted(refused.items())),
    )


def _fields(data: bytes) -> dict[str, _Field]:
    """The first paragraph, by lower-case field name; what is no field is nobody's, as for apt."""
    fields: dict[str, _Field] = {}
    field: _Field | None = None
    text = data.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        if line in {"", "\r"}:
            if fields:
                break
        elif line[0] in " \t":
            if field and (stripped := line.strip()):
                field.lines.append((number, stripped))
        else:
            name, colon, value = line.partition(":")
            name, value = name.rstrip().lower(), value.strip()
            field = None
            if colon and _FIELD_NAME.fullmatch(name):
                field = fields[name] = _Field([(number, value)] if value else [])
    return fields


def _entries(section: str, field: _Field, refused: dict[int, str], where: str) -> dict[str, _Entry]:
    """A hash section's lines: path -> (size, hash); what is wrong with a line goes into `refused`."""
    if len(field.lines) > MAX_LISTED:
        raise MalformedFile(
            f"{where}: expected at most {MAX_LISTED} files in {section}, found {len(field.lines)}"
        )
    entries: dict[str, _Entry] = {}
    for number, line in field.lines:
        at = f"{where}:{number}"
        try:
            path, entry = _entry(section, line, at)
        except MalformedFile as exc:
            refused[number] = str(exc)
            continue
        if path not in _ITSELF and entries.setdefault(path, entry) != entry:
            refused[number] = f"{at}: {path} again in {section} with another size or hash; using the first"
    return entries


def _entry(section: str, line: str, where: str) -> tuple[str, _Entry]:
    columns = line.split(maxsplit=2)  # a path may have blanks in it
    if len(columns) != 3:
        raise MalformedFile(f"{where}: expected 'hash size path', found {line[:80]!a}")
    digest, size, path = columns
    if not _HEX[section].fullmatch(digest):
        raise MalformedFile(f"{where}: expected a {section} hash, found {digest[:140]!a}")
    return inside(path, where=where), (checked_size(size, where=where), digest.lower())


def _files(entries: Mapping[str, dict[str, _Entry]], asked: Sequence[str]) -> dict[str, Listed]:
    """What the asked sections name, each with size and hash of the first that has it."""
    files: dict[str, Listed] = {}
    for section in asked:
        for path, (size, digest) in entries[section].items():
            if path not in files:
                others = tuple(
                    (name, listed[path][1])
                    for name, listed in entries.items()
                    if name != section and path in listed
                )
                files[path] = Listed(path, size, digest, others)
    return files


def checked_size(raw: str, *, where: str) -> int:
    """The number of bytes that a decimal text names; raises MalformedFile for anything else."""
    if raw.isascii() and raw.isdigit() and len(raw) <= 20:
        size = int(raw)
        if size <= MAX_SIZE:
            return size
    raise MalformedFile(f"{where}: expected a size in bytes (at most 2**50), found {raw[:40]!a}")
