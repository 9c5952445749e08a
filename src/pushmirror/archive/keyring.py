"""A keyring as gpgv reads it, of one as people have it: binary, a keybox, or one or more armored blocks.

The checksum of an armor is not looked at: RFC 9580, 6.1 forbids to reject for it, apt does not either, and
each key in a keyring is signed by itself. Not the business of this module: which keys are in it.
"""

from __future__ import annotations

import binascii
import re

from pushmirror.errors import MalformedFile

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
