"""Signatures of Release files: gpgv's verdict, keyrings for gpgv, clear-signed files taken apart.

The rules are apt's: one good signature by a key of the keyring is enough; keys that are not in it do not
matter (Debian signs each Release with several); one bad signature spoils everything; a key that has expired
does not count, although it signed while it was valid (apt says EXPKEYSIG). The verdict comes from the lines
of `gpgv --status-fd` only (GnuPG, doc/DETAILS), not from its exit code or its prose.

A keyring may be binary, a keybox, or armored blocks; the checksum of an armor is ignored (RFC 9580, 6.1). A
clear-signed file has exactly one message and only blank lines behind it. gpgv is asked about its text as a
detached signature, so that no reader of the file can take for signed what gpgv did not see. Not the business
of this module: running gpgv.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pushmirror.errors import BadSignature, KeyExpired, MalformedFile

_PREFIX = "[GNUPG:]"
_WEAK_HASHES = {"1": "MD5", "2": "SHA1", "3": "RIPEMD160"}  # RFC 4880, 9.4; apt refuses the same
_NOT_GOOD = {
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key has expired",
    "REVKEYSIG": "the key was revoked",
    "ERRSIG": "the signature could not be checked",
    "NO_PUBKEY": "the key is not in the keyring",
}
_BROKEN = {"NODATA": "no signature found", "UNEXPECTED": "malformed signature"}
_FINGERPRINT = re.compile(r"[0-9A-F]{16,64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """The good signatures of a Release file."""

    keys: tuple[str, ...]  # fingerprints of the primary keys of the good signatures, in gpgv's order
    made_at: datetime  # the newest good signature
    others: tuple[str, ...] = ()  # signatures that do not count: the key, and why


def judge(status: str, *, where: str) -> Signature:
    """The verdict on the output of `gpgv --status-fd`.

    Raises BadSignature unless a signature is good; KeyExpired, which is one, when an expired key made it.
    """
    good: dict[str, datetime] = {}
    bad: dict[str, str] = {}  # key -> why it does not count
    expired_keys: set[str] = set()  # of these
    signer = ""  # the key of the GOODSIG that a VALIDSIG may follow
    expired = ""  # the key of the EXPKEYSIG that a VALIDSIG may follow
    end = ""  # when that key expired
    for line in status.split("\n"):
        prefix, *words = line.split(" ")
        if prefix != _PREFIX or not words:
            continue
        keyword, key, *_ = [*words, "?"]
        if keyword == "BADSIG":
            raise BadSignature(f"{where}: BAD signature by {key}: the text was changed after signing")
        if keyword in _BROKEN:
            raise BadSignature(f"{where}: {_BROKEN[keyword]}")
        if keyword == "GOODSIG":
            signer = key
        elif keyword == "VALIDSIG":
            if expired:
                bad[expired] += _dates(end, words[1:])
            _count(words[1:], signer, good, bad)
            signer = expired = ""
        elif keyword in _NOT_GOOD:
            signer, expired = "", key if keyword == "EXPKEYSIG" else ""
            bad[key] = _NOT_GOOD[keyword]
            if expired:
                expired_keys.add(expired)
        elif keyword == "KEYEXPIRED":
            end = key
        elif keyword == "NEWSIG":
            signer = expired = end = ""
    others = tuple(f"{key}: {why}" for key, why in bad.items())
    if not good:
        found = "; ".join(others) or "gpgv reported none"
        kind = KeyExpired if expired_keys else BadSignature
        raise kind(f"{where}: expected a good signature by a key of the keyring, found none ({found})")
    return Signature(tuple(good), max(good.values()), others)


def _dates(end: str, words: list[str]) -> str:
    """When a key expired, and when it had signed, as far as gpgv says so."""
    expired, made = _time(end), _time(words[2]) if len(words) > 2 else None
    return f" on {expired:%Y-%m-%d}; it signed on {made:%Y-%m-%d}" if expired and made else ""


def _count(words: list[str], signer: str, good: dict[str, datetime], bad: dict[str, str]) -> None:
    """Count a VALIDSIG as good only if it follows the GOODSIG of the same key.

    gpgv also writes VALIDSIG after EXPKEYSIG and the like: alone it only means that the signature matches.
    """
    if not signer or len(words) < 9:
        return
    fingerprint, made, weak = words[0], _time(words[2]), _WEAK_HASHES.get(words[7])
    if not _FINGERPRINT.fullmatch(fingerprint) or not fingerprint.endswith(signer.upper()) or made is None:
        bad[signer] = "gpgv's status lines about it contradict each other"
    elif weak is not None:
        bad[fingerprint] = f"it uses {weak}, which can be forged"
    else:
        primary = words[9] if len(words) > 9 and _FINGERPRINT.fullmatch(words[9]) else fingerprint
        good[primary] = max(made, good.get(primary, made))


def _time(word: str) -> datetime | None:
    """A time in a status line: seconds since 1970, or ISO 8601 as 20260711T101637."""
    try:
        if "T" in word:
            return datetime.strptime(word, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return datetime.fromtimestamp(int(word), UTC)
    except (ValueError, OverflowError, OSError):
        return None


_BLOCK = re.compile(
    rb"^-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\n(.*?)^-----END PGP PUBLIC KEY BLOCK-----",
    re.MULTILINE | re.DOTALL,
)
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*: ?.*|")  # or the empty line behind them
_KEYBOX = b"KBXf"  # at byte 8: the format of gpg's pubring.kbx
_PUBLIC_KEY = 6  # RFC 4880, 4.3: the tag of the packet that a keyring begins with


def is_armored(data: bytes) -> bool:
    """Whether a keyring is text: gpgv would find no key in it, and say nothing of the reason."""
    return b"-----BEGIN PGP " in data


def binary_keyring(data: bytes, *, where: str) -> bytes:
    """The keys for gpgv; raises MalformedFile, naming `where`, when there is none that it could read."""
    keys = _dearmored(data, where) if is_armored(data) else data
    if not _begins_with_a_key(keys):
        raise MalformedFile(f"{where}: expected OpenPGP public keys, binary or armored, found none")
    return keys


def _dearmored(data: bytes, where: str) -> bytes:
    keys = b""
    for number, block in enumerate(_BLOCK.finditer(data.replace(b"\r\n", b"\n")), 1):
        lines = [line.strip() for line in block[1].split(b"\n")]
        while lines and _HEADER.fullmatch(lines[0]):
            del lines[0]
        text = b"".join(line for line in lines if not line.startswith(b"="))
        try:
            keys += binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error as exc:
            raise MalformedFile(f"{where}: the armored key block {number} is damaged: {exc}") from exc
    return keys


def _begins_with_a_key(data: bytes) -> bool:
    if not data:
        return False
    first = data[0]
    tag = first & 0x3F if first & 0x40 else (first & 0x3C) >> 2  # a new packet header, or an old one
    return (bool(first & 0x80) and tag == _PUBLIC_KEY) or data[8:12] == _KEYBOX


_BEGIN_MESSAGE = b"-----BEGIN PGP SIGNED MESSAGE-----"
_BEGIN_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_END_SIGNATURE = b"-----END PGP SIGNATURE-----"
_WHITE = b" \t\r"  # at the ends of lines OpenPGP does not sign it; mail and editors leave it there


@dataclass(frozen=True, slots=True)
class Clearsigned:
    """A clear-signed file."""

    text: bytes  # dash escapes undone, white space at the ends of lines dropped, each line with a newline
    signature: bytes  # the armored block, or several one after another

    @property
    def signed(self) -> bytes:
        """What the signature is over: the line end before the signature is not part of it (RFC 4880, 7.1)."""
        return self.text.removesuffix(b"\n")


def open_clearsigned(data: bytes, *, where: str) -> Clearsigned:
    """Take a clear-signed file apart; raises MalformedFile, naming `where`.

    The headers of the armor are nobody's: other tools write other ones, or none, and gpgv takes the hash
    algorithm from the signature itself.
    """
    raw = data.split(b"\n")
    lines = [line.rstrip(_WHITE) for line in raw]
    if lines[0] != _BEGIN_MESSAGE:
        raise MalformedFile(f"{where}:1: expected {_BEGIN_MESSAGE.decode()}, found {_start(lines[0])}")
    begin = _after_headers(lines, where)
    try:
        end = lines.index(_BEGIN_SIGNATURE, begin)
    except ValueError:
        raise MalformedFile(f"{where}: no {_BEGIN_SIGNATURE.decode()}; truncated") from None
    text = [_unescaped(line, f"{where}:{number}") for number, line in enumerate(raw[begin:end], begin + 1)]
    signature = _signature_lines(lines, end, where)
    return Clearsigned(*(b"".join(line + b"\n" for line in part) for part in (text, signature)))


def split_clearsigned(data: bytes, *, where: str) -> bytes:
    """The signed text of a clear-signed file; raises MalformedFile, naming `where`."""
    return open_clearsigned(data, where=where).text


def suite_text_agrees(in_release: bytes, release: bytes) -> bool:
    """Whether an InRelease and the detached Release beside it carry the same text.

    White space at the ends of lines and of the file does not count. Raises MalformedFile for an InRelease
    that is no clear-signed message.
    """
    signed = split_clearsigned(in_release, where="InRelease")
    return _trimmed(signed) == _trimmed(release)


def _after_headers(lines: list[bytes], where: str) -> int:
    """Where the text begins: behind the first empty line."""
    at = 0
    for at, line in enumerate(lines[1:], 1):
        if not line:
            return at + 1
        if line.startswith(b"-"):
            break
    raise MalformedFile(f"{where}:{at + 1}: expected an empty line after the headers of the armor")


def _unescaped(line: bytes, where: str) -> bytes:
    if line.startswith(b"- "):
        line = line[2:]
    elif line.startswith(b"-"):
        raise MalformedFile(f"{where}: expected signed text, found the unescaped line {_start(line)}")
    return line.rstrip(_WHITE)


def _signature_lines(lines: list[bytes], begin: int, where: str) -> list[bytes]:
    """All signature blocks from the first on; a second signer may have added another one behind it."""
    taken: list[bytes] = []
    is_open = False
    for number, line in enumerate(lines[begin:], begin + 1):
        if is_open:
            is_open = line != _END_SIGNATURE
            if is_open and line.startswith(b"-----"):
                at = f"{where}:{number}"
                raise MalformedFile(f"{at}: expected a line of the signature, found {_start(line)}")
            taken.append(line)
        elif line == _BEGIN_SIGNATURE:
            taken.append(line)
            is_open = True
        elif line:
            raise MalformedFile(f"{where}:{number}: expected the end of the file after the signature")
    if is_open:
        raise MalformedFile(f"{where}: no {_END_SIGNATURE.decode()}; truncated")
    return taken


def _start(line: bytes) -> str:
    return ascii(line[:60].decode("utf-8", "replace"))


def _trimmed(text: bytes) -> list[bytes]:
    return [line.rstrip(_WHITE) for line in text.rstrip().split(b"\n")]
