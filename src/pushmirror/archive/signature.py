"""What gpgv said about a signature, as a verdict.

The rules are apt's: one good signature by a key of the keyring is enough, keys that are not there do not
matter beside it (Debian signs each Release with several), one bad signature spoils everything, and a key that
has expired counts no more, although it signed while it was valid (apt says EXPKEYSIG). Facts come
from the lines of `gpgv --status-fd` only (GnuPG, doc/DETAILS); its exit code and its prose are not asked. Not
the business of this module: running gpgv, and whether the signed text is the one that is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pushmirror.errors import BadSignature, KeyExpired

_PREFIX = "[GNUPG:]"
_WEAK_HASHES = {"1": "MD5", "2": "SHA1", "3": "RIPEMD160"}  # RFC 4880, 9.4; apt refuses the same
_NOT_GOOD = {
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key has expired",
    "REVKEYSIG": "the key was revoked",
    "ERRSIG": "the signature could not be checked",
    "NO_PUBKEY": "the key is not in the keyring",
}
_BROKEN = {"NODATA": "there is no signature in it", "UNEXPECTED": "it is no proper signature"}
_FINGERPRINT = re.compile(r"[0-9A-F]{16,64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A Release file is signed."""

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
            raise BadSignature(f"{where}: the signature by {key} is wrong: the text is not what was signed")
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
        found = "; ".join(others) or "gpgv saw none"
        kind = KeyExpired if expired_keys else BadSignature
        raise kind(f"{where}: expected a good signature by a key of the keyring, found none ({found})")
    return Signature(tuple(good), max(good.values()), others)


def _dates(end: str, words: list[str]) -> str:
    """When a key expired, and when it had signed, as far as gpgv says so."""
    expired, made = _time(end), _time(words[2]) if len(words) > 2 else None
    return f" on {expired:%Y-%m-%d}; it had signed on {made:%Y-%m-%d}" if expired and made else ""


def _count(words: list[str], signer: str, good: dict[str, datetime], bad: dict[str, str]) -> None:
    """Take a VALIDSIG for good when it follows the GOODSIG of the same key.

    gpgv also writes VALIDSIG after EXPKEYSIG and the like: alone it means "the numbers fit" only.
    """
    if not signer or len(words) < 9:
        return
    fingerprint, made, weak = words[0], _time(words[2]), _WEAK_HASHES.get(words[7])
    if not _FINGERPRINT.fullmatch(fingerprint) or not fingerprint.endswith(signer.upper()) or made is None:
        bad[signer] = "gpgv's words about it do not fit together"
    elif weak is not None:
        bad[fingerprint] = f"it is over {weak}, which can be forged"
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
