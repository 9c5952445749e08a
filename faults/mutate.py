"""Inputs that nobody would write: good ones, changed where their structure is. Pure, and drawn from a Random.

What changes are the parts that readers look for (lines, stanzas, fields, numbers, hashes, paths), and what
they hope never to see: control characters, bytes that are not UTF-8, lines without an end, halves of two
texts put together, a container that is cut off or unpacks to a thousand times its size.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

_MOST_CHANGES = 6
_LARGEST = 64 * 1024  # bytes; changes upon changes must not make inputs that only cost time
_LONG = (255, 256, 4095, 4097, 10_001, 40_000)  # bytes, about the bounds of names, paths and lines
_LONGEST_PATH = 5000  # bytes
_BOMB = 8 * 1024 * 1024  # bytes when unpacked

_NUMBERS = (
    *(b"0", b"-1", b"1", b"00", b"007", b"+1", b"1e9", b"0x10", b"1_0", b"1,000", b",", b"1.5", b"NaN", b""),
    *(str(2**bits + more).encode() for bits in (31, 32, 50, 63, 64) for more in (-1, 0, 1)),
    *(b"9" * 19, b"9" * 400, b"9" * 5000, b"-" + b"9" * 30, b"10000", b"60", b"24", b"31"),
    *(
        "\N{ARABIC-INDIC DIGIT THREE}".encode(),
        "\N{SUPERSCRIPT TWO}".encode(),
        "\N{FULLWIDTH DIGIT ONE}".encode(),
    ),
)
_NAMES = (
    *(
        b"..",
        b".",
        b"",
        b"/",
        b"~",
        b"*",
        b"-rf",
        b" ",
        b"a b",
        b"a -> b",
        b"\\#012",
        b"\\#999",
        b"\\",
        b"%s",
    ),
    *(b"x" * 255, b"x" * 256, b"caf\xe9", "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), b"con\x1b[31m"),
    *(
        "\N{LINE SEPARATOR}".encode(),
        "\N{RIGHT-TO-LEFT OVERRIDE}".encode(),
        b"\xc2\x85",
        b"a\tb",
        b"{}",
        b"{0}",
    ),
    *(
        b".~tmp~",
        b"lost+found",
        b"project/trace",
        b"Release",
        b"InRelease",
        b"by-hash",
        b"Packages.gz",
        b"a%00b",
    ),
)
_PATHS = (
    *(
        b"../../etc/passwd",
        b"/etc/passwd",
        b"//etc/passwd",
        b"./a",
        b"a/./b",
        b"a//b",
        b"a/",
        b"a/.",
        b"a/..",
    ),
    *(b"a/../../b", b"a/../b", b"..\\..\\a", b"a/\0/b", b"a/\x1b[2J", b"a/" * 2100 + b"a", b"d/" * 60 + b"x"),
    *(b"file:///etc/passwd", b"http://[::1", b"\xff/\xfe", b"a/" + b"y" * 256, b"../" * 40 + b"etc/shadow"),
)
_PIECES = (
    *(
        bytes([byte])
        for byte in (0, 7, 8, 9, 10, 11, 12, 13, 27, 28, 31, 127, 128, 133, 160, 192, 237, 254, 255)
    ),
    *(
        b"\r\n",
        b"\n\n",
        b"\n \n",
        b"\n\t",
        b" ",
        b"  ",
        b":",
        b": ",
        b"=",
        b"-",
        b"- ",
        b"#",
        b",",
        b";",
        b"|",
    ),
    *(b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b"\xe2\x80\xae",
        b"'",
        b'"',
        b"'''",
        b'"""',
        b"`",
        b"$",
        b"${",
        b"$(",
        b"}",
    ),
    *(
        b"${x:-${x:-",
        b"$((1))",
        b"\\\n",
        b"\\",
        b"\\'",
        b"[",
        b"]",
        b"[[",
        b"{",
        b"(",
        b")",
        b"<",
        b">",
        b"&",
        b"!",
    ),
    *(b"-----BEGIN PGP SIGNED MESSAGE-----\n", b"-----BEGIN PGP SIGNATURE-----\n", b"[GNUPG:] "),
    *(
        b"-----END PGP SIGNATURE-----\n",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        b"end\t0\n",
        b"@",
        b"%",
        b"~",
    ),
)
_DATES = (
    *(
        b"Thu, 31 Feb 2026 25:61:61 UTC",
        b"Thu, 01 Jan 0000 00:00:00 +9999",
        b"Fri, 31 Dec 9999 23:59:59 -2359",
    ),
    *(b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59", b"2026-W53-7", b"10000/01/01-00:00:00"),
    *(b"0000/00/00-00:00:00", b"-2147483648", b"99999999999999999999", b"2026/02/29 24:00:00"),
)

_LINE = re.compile(rb"[^\n]*\n?")
_NUMBER = re.compile(rb"\d+")
_HASH = re.compile(rb"[0-9A-Fa-f]{32,}")
_SLASH = re.compile(rb"/")
_NO_PATH = re.compile(rb"[\s\"'=|;,()<>]")
_WORD = re.compile(rb"[^\s:=/,;|\"'()<>\[\]{}-]+")
_STANZA_END = b"\n\n"


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, changed in one to six places; seldom nothing of it is left."""
    data = random.choice(seeds)
    if random.random() < 0.01:
        return random.randbytes(random.choice((0, 1, 2, 8, 100)))
    for _ in range(min(_MOST_CHANGES, 1 + int(random.expovariate(0.7)))):
        data = random.choice(_CHANGES)(random, data, seeds)[:_LARGEST]
    return data


Change = Callable[[Random, bytes, Sequence[bytes]], bytes]


# --- Anywhere ---------------------------------------------------------------------------------------------


def _bits(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _number in range(random.choice((1, 1, 2, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _piece(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return _put(data, random.randint(0, len(data)), random.choice((0, 0, 1, 4)), random.choice(_PIECES))


def _piece_at_word(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A piece just before or behind a word, where readers split."""
    start, end = _one(random, _WORD, data)
    return _put(data, random.choice((start, end)), 0, random.choice(_PIECES))


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] if random.random() < 0.8 else data[at:]


def _taken_out(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return _put(data, random.randint(0, len(data)), random.choice((1, 2, 10, 100)), b"")


def _spliced(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def _overlong(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Some piece of it, again and again."""
    at = random.randint(0, len(data))
    piece = data[at : at + random.choice((1, 1, 3, 20))] or b"x"
    length = random.choice(_LONG)
    return _put(data, at, 0, (piece * (length // len(piece) + 1))[:length])


# --- Lines and stanzas ------------------------------------------------------------------------------------


def _lines(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A line that is gone, there twice, elsewhere, of another text, cut short or joined with the next."""
    lines = _LINE.findall(data)[:-1] or [b""]
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(7):
        case 0:
            del lines[at]
        case 1:
            lines[at : at + 1] = [lines[at]] * random.choice((2, 2, 30))
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines.insert(at, random.choice(_LINE.findall(random.choice(seeds))))
        case 4:
            lines[at] = lines[at][: random.randint(0, len(lines[at]))].rstrip(b"\n") + b"\n"
        case 5:
            lines[at] = lines[at].rstrip(b"\n")
        case 6:
            lines[at] = random.choice((b" ", b"\t", b"#", b"\r", b"-", b"")) + lines[at]
    return b"".join(lines)


def _stanzas(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    stanzas = data.split(_STANZA_END)
    at = random.randrange(len(stanzas))
    match random.randrange(4):
        case 0:
            del stanzas[at]
        case 1:
            stanzas.insert(at, random.choice(stanzas))
        case 2:
            stanzas.insert(at, random.choice(random.choice(seeds).split(_STANZA_END)))
        case 3:
            stanzas[at] = b"\n".join(sorted(stanzas[at].split(b"\n"), key=lambda _: random.random()))
    return _STANZA_END.join(stanzas)


# --- What lines are made of -------------------------------------------------------------------------------


def _number(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _one(random, _NUMBER, data)
    if start < end < start + 19 and random.random() < 0.4:
        new = str(int(data[start:end]) + random.choice((-1, 1, 10))).encode()
    else:
        new = random.choice(_NUMBERS)
    return _put(data, start, end - start, new)


def _hash(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _one(random, _HASH, data)
    digest = data[start:end]
    new = (
        digest.upper(),
        digest[1:],
        digest + b"0",
        b"z" + digest[1:],
        digest[:32],
        digest * 2,
        b"0" * 64,
        b"-",
    )
    return _put(data, start, end - start, random.choice(new))


def _path(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    slash, behind = _one(random, _SLASH, data)
    before = _NO_PATH.search(data[max(slash - _LONGEST_PATH, 0) : slash][::-1])
    start = slash - before.start() if before else max(slash - _LONGEST_PATH, 0)
    end = found.start() if (found := _NO_PATH.search(data, behind)) else len(data)
    if random.random() < 0.4:
        return _put(data, start, end - start, random.choice(_PATHS))
    parts = data[start:end].split(b"/")
    at = random.randrange(len(parts))
    parts[at : at + random.choice((0, 1))] = [random.choice(_NAMES)]
    return _put(data, start, end - start, b"/".join(parts))


def _word(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A word that another one takes the place of: of any seed, or a name that is none."""
    start, end = _one(random, _WORD, data)
    if random.random() < 0.5:
        other = random.choice(seeds)
        from_there, until = _one(random, _WORD, other)
        return _put(data, start, end - start, other[from_there:until])
    return _put(data, start, end - start, random.choice((*_NAMES, *_DATES)))


def _case(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _one(random, _WORD, data)
    return _put(data, start, end - start, data[start:end].swapcase())


# --- Containers -------------------------------------------------------------------------------------------


def _container(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """One more stream behind it, zeros, garbage, or something that is much larger than it looks."""
    more = (
        data,
        data[: len(data) // 2],
        b"\0" * 512,
        b"\x1f\x8b\x08",
        b"BZh9",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
    )
    return data + random.choice(more) if random.random() < 0.9 else random.choice(_bombs())


@cache
def _bombs() -> tuple[bytes, ...]:
    """Zeros and one endless line, packed by each of the packers of the standard library."""
    zeros, line = b"\0" * _BOMB, b"x" * _BOMB
    packers = (gzip.compress, bz2.compress, lzma.compress)
    return tuple(pack(text) for pack in packers for text in (zeros, line))


def _put(data: bytes, at: int, length: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + length :]


def _one(random: Random, pattern: re.Pattern[bytes], data: bytes) -> tuple[int, int]:
    """Where one of the matches is; any place of no length where there is none."""
    start = random.randint(0, len(data))
    found = pattern.search(data, start) or pattern.search(data)
    return found.span() if found else (start, start)


#: The more often one is here, the more often it is drawn.
_CHANGES: tuple[Change, ...] = (
    *(
        _bits,
        _piece,
        _piece,
        _piece_at_word,
        _piece_at_word,
        _cut,
        _taken_out,
        _spliced,
        _overlong,
        _container,
    ),
    *(_lines, _lines, _lines, _stanzas, _stanzas, _number, _number, _hash, _path, _path, _word, _word, _case),
)
