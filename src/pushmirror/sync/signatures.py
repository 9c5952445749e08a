"""Whether Release files are signed by a key of the archive's keyring, on gpgv's word.

A keyring is a file, binary or armored, or a directory of such files (`*.gpg`, `*.asc`), as apt takes them.
What gpgv is asked about is the very text that is parsed: a clear-signed file is taken apart as apt does it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pushmirror.archive.clearsigned import open_clearsigned
from pushmirror.archive.keyring import binary_keyring, is_armored
from pushmirror.archive.signature import Signature, judge
from pushmirror.errors import BadSignature, ConfigError, MalformedFile
from pushmirror.sync.published import Suite
from pushmirror.system import process
from pushmirror.system.files import sha256_of

_SUFFIXES = {".gpg", ".asc"}  # of the files of a directory of keyrings; apt takes no others
_HINT = "check `keyring` in pushmirror.toml"


def check_signatures(suite: Suite, tree: Path, keyrings: Sequence[Path]) -> None:
    """Raise BadSignature unless every signed form of the suite's Release below `tree` is good."""
    directory = tree / suite.directory
    if "InRelease" in suite.texts:
        check_clearsigned(directory / "InRelease", keyrings, where=f"{suite.directory}/InRelease")
    if "Release.gpg" in suite.texts and "Release" in suite.texts:
        check_detached(
            directory / "Release.gpg", directory / "Release", keyrings, where=f"{suite.directory}/Release.gpg"
        )
    elif "InRelease" not in suite.texts:
        raise BadSignature(f"{suite.directory}/Release is not signed, and the archive has a keyring")


def check_clearsigned(file: Path, keyrings: Sequence[Path], *, where: str) -> Signature:
    """Who signed a clear-signed file, in the tree known as `where`; BadSignature unless it is good."""
    opened = open_clearsigned(file.read_bytes(), where=where)
    with tempfile.TemporaryDirectory(prefix="pushmirror-gpgv-") as made:
        signature, text = Path(made, "signature"), Path(made, "text")
        signature.write_bytes(opened.signature)
        text.write_bytes(opened.signed)
        return check_detached(signature, text, keyrings, where=where)


def check_detached(signature: Path, text: Path, keyrings: Sequence[Path], *, where: str) -> Signature:
    """Who signed a file, by a signature that is known as `where`; BadSignature unless it is good."""
    with _readable_by_gpgv(keyrings) as files:
        chosen = [word for file in files for word in ("--keyring", str(file))]
        argv = ["gpgv", "--status-fd", "1", *chosen, str(signature), str(text)]
        told = process.run(argv, timeout_s=60)
    return judge(told.output.decode("utf-8", "replace"), where=where)


def fingerprint(keyrings: Sequence[Path]) -> str:
    """Tells sets of keyrings apart by their content."""
    hashes = [sha256_of(file.resolve()) for file in files_of(keyrings)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def check_keyrings(keyrings: Sequence[Path]) -> None:
    """Raise ConfigError if a keyring cannot be used; before a run begins, not in its middle."""
    for keyring in keyrings:
        if keyring.is_dir() and not files_of([keyring]):
            raise ConfigError(f"the keyring directory {keyring} has no *.gpg or *.asc file", hint=_HINT)
    for file in files_of(keyrings):
        if not file.is_file() or not os.access(file, os.R_OK):
            found = "does not exist" if not file.exists() else "is no file that can be read"
            raise ConfigError(f"the keyring {file} {found}", hint=_HINT)
        try:
            binary_keyring(file.read_bytes(), where=f"the keyring {file}")
        except MalformedFile as exc:
            raise ConfigError(str(exc), hint=_HINT) from exc


def files_of(keyrings: Sequence[Path]) -> list[Path]:
    """The files of keyrings: themselves, and of directories what is in them, in order."""
    found: list[Path] = []
    for keyring in keyrings:
        if keyring.is_dir():
            found += sorted(file for file in keyring.iterdir() if file.suffix in _SUFFIXES)
        else:
            found.append(keyring)
    return found


@contextmanager
def _readable_by_gpgv(keyrings: Sequence[Path]) -> Iterator[list[Path]]:
    """The keyrings as binary files: gpgv finds no key in an armored one."""
    with tempfile.TemporaryDirectory(prefix="pushmirror-keys-") as made:
        found: list[Path] = []
        for number, file in enumerate(files_of(keyrings)):
            data = file.read_bytes()
            if is_armored(data):
                binary = Path(made, f"{number}.gpg")
                binary.write_bytes(binary_keyring(data, where=f"the keyring {file}"))
                found.append(binary)
            else:
                found.append(file)
        yield found
