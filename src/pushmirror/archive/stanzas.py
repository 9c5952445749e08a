"""The stanzas of an index as apt reads them, and what they say of files.

Guaranteed: nothing in a stanza makes another one unreadable. Of a field that is there twice the last counts;
lines of white space only are continuation lines, not ends (all as apt 2.6, tried).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pushmirror.archive.digests import HASHES
from pushmirror.archive.release import MAX_SIZE

UNKNOWN = -1
Stanza = Mapping[str, str]  # by lower-case field name: its text, lines joined, without the blanks around it

_HEX = re.compile(r"[0-9A-Fa-f]+")
_NUMBER = re.compile(r"[0-9]{1,20}")


def stanzas(data: bytes, where: str, before: int) -> Iterator[tuple[Stanza, str]]:
    """Each stanza, and a text that says which one it is; `before` is the number of those before these."""
    for text in data.decode("utf-8", "surrogateescape").split("\n\n"):
        if text.strip("\n"):
            before += 1
            stanza = _stanza(text.strip("\n"))
            package = stanza.get("package", "")
            at = f"{where}: stanza {before}"
            yield stanza, f"{at} ({package[:80]!a})" if package else at


def _stanza(text: str) -> Stanza:
    """The fields; what is no field is nobody's, as for the quick reader."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if line[0] in " \t":
            if name:
                fields[name] += "\n" + line
            continue
        raw_name, colon, value = line.partition(":")
        name = raw_name.rstrip(" \t").lower() if colon else ""
        if name:
            fields[name] = value
    return {name: value.strip(" \t\n") for name, value in fields.items()}


def lines_of(stanza: Stanza, *names: str) -> list[str]:
    """The lines of the first of these list fields that is there and has any."""
    for name in names:
        if lines := [line for line in stanza.get(name, "").split("\n") if line.strip(" \t")]:
            return lines
    return []


def digest_in(text: str) -> str:
    """A hash in lower case; "" for what is none."""
    return text.lower() if len(text) in HASHES.values() and _HEX.fullmatch(text) else ""


def size_in(text: str) -> int:
    """The number that a size begins with, as strtoull(3) reads it for apt; UNKNOWN where there is none."""
    match = _NUMBER.match(text)
    size = int(match[0]) if match else UNKNOWN
    return size if size <= MAX_SIZE else UNKNOWN
