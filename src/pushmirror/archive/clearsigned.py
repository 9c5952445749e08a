"""The text and the signature of a clear-signed file, such as InRelease, taken apart as apt does it.

Guaranteed: the text is what the signature is over, and nothing else of the file is in it: gpgv is asked about
just these two, as a detached signature, so no reader of the file can take for signed what gpgv did not
see. Exactly one message is accepted, with nothing but blank lines behind it. Not the business of this
module: whether the signature is good (signature.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from pushmirror.errors import MalformedFile

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
        raise MalformedFile(f"{where}: no {_BEGIN_SIGNATURE.decode()}; it is cut off") from None
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
        raise MalformedFile(f"{where}: no {_END_SIGNATURE.decode()}; it is cut off")
    return taken


def _start(line: bytes) -> str:
    return ascii(line[:60].decode("utf-8", "replace"))


def _trimmed(text: bytes) -> list[bytes]:
    return [line.rstrip(_WHITE) for line in text.rstrip().split(b"\n")]
