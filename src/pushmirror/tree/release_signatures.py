"""Check the signatures of Release files against the archive's keyring, by gpgv.

A keyring is a file, binary or armored, or a directory of such files (`*.gpg`, `*.asc`), as apt takes them.
gpgv checks the very text that is parsed: a clear-signed file is taken apart as apt does it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pushmirror.archive.layout import joined
from pushmirror.archive.signature import Signature, binary_keyring, is_armored, judge, open_clearsigned
from pushmirror.errors import BadSignature, ConfigError, MalformedFile, key_name
from pushmirror.system import process
from pushmirror.system.files import sha256_of
from pushmirror.tree.published_state import Suite

_SUFFIXES = {".gpg", ".asc"}  # of the files of a directory of keyrings; apt takes no others


def check_signatures(suite: Suite, tree: Path, keyrings: Sequence[Path]) -> tuple[str, ...]:
    """The keys by which the form of a suite's Release that apt reads, below `tree`, is signed.

    Raises BadSignature unless one of them is of the keyrings.
    """
    files = {name: tree / path for name, path in suite.files.items() if name in suite.texts}
    if "InRelease" in files:
        where = joined(suite.directory, "InRelease")
        return check_clearsigned(files["InRelease"], keyrings, where=where).keys
    if "Release.gpg" in files and "Release" in files:
        where = joined(suite.directory, "Release.gpg")
        return check_detached(files["Release.gpg"], files["Release"], keyrings, where=where).keys
    raise BadSignature(f"{joined(suite.directory, 'Release')} is not signed, and the archive has a keyring")


def detached_problem(suite: Suite, tree: Path, keyrings: Sequence[Path]) -> str:
    """What is wrong with the Release.gpg beside an InRelease; empty if nothing is, or there is none."""
    if not suite.texts.keys() >= {"InRelease", "Release", "Release.gpg"}:
        return ""
    signature, text = (tree / suite.files[name] for name in ("Release.gpg", "Release"))
    try:
        check_detached(signature, text, keyrings, where=joined(suite.directory, "Release.gpg"))
    except BadSignature as exc:
        return str(exc)
    return ""


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
        result = process.run(argv, timeout_s=60)
    return judge(result.output.decode("utf-8", "replace"), where=where)


def fingerprint(keyrings: Sequence[Path]) -> str:
    """Tells sets of keyrings apart by their content."""
    hashes = [sha256_of(file.resolve()) for file in files_of(keyrings)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def check_keyrings(keyrings: Sequence[Path]) -> None:
    """Raise ConfigError if a keyring cannot be used; before a run begins, not in its middle."""
    for keyring in keyrings:
        if keyring.is_dir() and not files_of([keyring]):
            raise ConfigError(
                f"the keyring directory {keyring} has no *.gpg or *.asc file",
                hint=f"check {key_name('keyring')}",
            )
    for file in files_of(keyrings):
        if not file.is_file() or not os.access(file, os.R_OK):
            found = "does not exist" if not file.exists() else "is not a readable file"
            raise ConfigError(f"the keyring {file} {found}", hint=f"check {key_name('keyring')}")
        try:
            binary_keyring(file.read_bytes(), where=f"the keyring {file}")
        except MalformedFile as exc:
            raise ConfigError(str(exc), hint=f"check {key_name('keyring')}") from exc


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
