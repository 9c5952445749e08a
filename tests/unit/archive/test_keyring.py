import base64

import pytest

from pushmirror.archive.signature import binary_keyring, is_armored
from pushmirror.errors import MalformedFile

ONE, TWO = b"\x99\x01\x0d one" * 20, b"\xc6\x01\x0d two" * 20  # an old and a new packet header


def armored(key: bytes, *headers: str, checksum: str = "=abcd\n") -> bytes:
    body = base64.encodebytes(key).decode()
    head = "".join(f"{line}\n" for line in headers)
    frame = "-----{} PGP PUBLIC KEY BLOCK-----\n"
    return f"{frame.format('BEGIN')}{head}\n{body}{checksum}{frame.format('END')}".encode()


@pytest.mark.parametrize("key", [ONE, TWO, b"\0\0\0\x20\1\1\0\2KBXf and more"])
def test_a_binary_keyring_is_given_as_it_is(key: bytes) -> None:
    assert not is_armored(key) and binary_keyring(key, where="k") == key


KEYRINGS = {
    "one block": armored(ONE),
    "no checksum": armored(ONE, checksum=""),
    "headers": armored(ONE, "Version: GnuPG v1", "Comment: https://example.org"),
    "CRLF": armored(ONE).replace(b"\n", b"\r\n"),
    "no final newline": armored(ONE).removesuffix(b"\n"),
    "text around it": b"Keys of example.org\n\n" + armored(ONE) + b"\nend\n",
}


@pytest.mark.parametrize("data", KEYRINGS.values(), ids=KEYRINGS.keys())
def test_an_armored_keyring_is_decoded(data: bytes) -> None:
    assert is_armored(data) and binary_keyring(data, where="k") == ONE


def test_all_blocks_of_a_keyring_are_decoded() -> None:
    assert binary_keyring(armored(ONE) + b"\n" + armored(TWO), where="k") == ONE + TWO


BAD = {
    "nothing": b"",
    "garbage": b"garbage",
    "a page": b"<html>404</html>\n",
    "a signature": armored(ONE).replace(b"PUBLIC KEY BLOCK", b"SIGNATURE"),
    "an open block": armored(ONE).partition(b"=")[0],
    "a damaged block": armored(ONE).replace(b"mQ", b"m\xff"),
    "what is no key": armored(b"x" * 30),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_has_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"^k: "):
        binary_keyring(data, where="k")
