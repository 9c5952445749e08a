"""OpenPGP keys and signatures as gpgv and apt read them (RFC 4880; Ed25519 in the older form of RFC 9580).

A signature costs no process and no agent, and any key can have been made, or have expired, at any time. What
checks them in the tests is the real gpgv; nothing here reads a signature.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_OID = bytes.fromhex("2b06010401da470f01")  # Ed25519, as GnuPG names it
_EDDSA, _SHA256 = 22, 8
_BINARY, _TEXT, _CERTIFICATION = 0x00, 0x01, 0x13
_KEY, _USER_ID, _SIGNATURE = 6, 13, 2  # kinds of packets
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Key:
    """A key pair that follows from its owner's name."""

    owner: str
    made: datetime = _LONG_AGO
    expires: timedelta | None = None  # after `made`

    @property
    def public(self) -> bytes:
        """The public key, binary, as gpgv wants its keyring."""
        user = self.owner.encode()
        lifetime = [(9, struct.pack(">I", int(self.expires.total_seconds())))] if self.expires else []
        signed = b"\x99" + _length2(self._body) + b"\xb4" + struct.pack(">I", len(user)) + user
        certificate = self._signature(_CERTIFICATION, signed, self.made, [(27, b"\x03"), *lifetime])
        return _packet(_KEY, self._body) + _packet(_USER_ID, user) + certificate

    @property
    def fingerprint(self) -> str:
        return hashlib.sha1(b"\x99" + _length2(self._body), usedforsecurity=False).hexdigest().upper()

    def detached(self, text: bytes, *, when: datetime | None = None, armoured: bool = True) -> bytes:
        """The signature of Release.gpg."""
        signature = self._signature(_BINARY, text, when or datetime.now(UTC))
        return armour(signature, "SIGNATURE") if armoured else signature

    def clear(self, text: bytes, *others: Key, when: datetime | None = None) -> bytes:
        """The text with signatures around it, of this key and others, as InRelease."""
        text = text if text.endswith(b"\n") else text + b"\n"
        lines = [line.rstrip(b" \t\r") for line in text.split(b"\n")[:-1]]
        when = when or datetime.now(UTC)
        signatures = [key._signature(_TEXT, b"\r\n".join(lines), when) for key in (self, *others)]
        escaped = b"".join(b"- " * line.startswith(b"-") + line + b"\n" for line in text.split(b"\n")[:-1])
        head = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
        return head + escaped + armour(b"".join(signatures), "SIGNATURE")

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.owner.encode()).digest())

    @property
    def _body(self) -> bytes:
        """What the key's packet holds."""
        point = b"\x40" + self._private.public_key().public_bytes_raw()
        made = struct.pack(">BIB", 4, int(self.made.timestamp()), _EDDSA)
        return made + bytes([len(_OID)]) + _OID + _number(point)

    def _signature(
        self, kind: int, text: bytes, when: datetime, more: list[tuple[int, bytes]] | None = None
    ) -> bytes:
        fingerprint = bytes.fromhex(self.fingerprint)
        about = [(33, b"\x04" + fingerprint), (2, struct.pack(">I", int(when.timestamp()))), *(more or [])]
        said = b"".join(bytes([len(value) + 1, number]) + value for number, value in about)
        head = bytes([4, kind, _EDDSA, _SHA256]) + _length2(said)
        digest = hashlib.sha256(text + head + b"\x04\xff" + struct.pack(">I", len(head))).digest()
        made = self._private.sign(digest)
        issuer = _length2(bytes([9, 16]) + fingerprint[-8:])
        return _packet(_SIGNATURE, head + issuer + digest[:2] + _number(made[:32]) + _number(made[32:]))


def armour(data: bytes, what: str) -> bytes:
    """Binary data as text; `what` is SIGNATURE or PUBLIC KEY BLOCK."""
    lines = base64.encodebytes(data).replace(b"\n", b"")
    text = b"".join(lines[at : at + 64] + b"\n" for at in range(0, len(lines), 64))
    check = b"=" + base64.b64encode(_crc24(data).to_bytes(3, "big")) + b"\n"
    return f"-----BEGIN PGP {what}-----\n\n".encode() + text + check + f"-----END PGP {what}-----\n".encode()


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 192
    return bytes([0xC0 | kind, len(body)]) + body


def _length2(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _number(data: bytes) -> bytes:
    """A multi-precision integer."""
    value = int.from_bytes(data, "big")
    return struct.pack(">H", value.bit_length()) + value.to_bytes((value.bit_length() + 7) // 8, "big")


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc
