"""Whether Release files are signed by a key of the archive's keyring, on gpgv's word."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pushmirror.archive.signature import judge
from pushmirror.errors import BadSignature, ConfigError
from pushmirror.sync.published import Suite
from pushmirror.system import process
from pushmirror.system.files import sha256_of


def check_signatures(suite: Suite, tree: Path, keyrings: Sequence[Path]) -> None:
    """Raise BadSignature unless every signed form of the suite's Release below `tree` is good."""
    directory = tree / suite.directory
    if "InRelease" in suite.texts:
        _check([directory / "InRelease"], keyrings, where=f"{suite.directory}/InRelease")
    if "Release.gpg" in suite.texts and "Release" in suite.texts:
        files = [directory / "Release.gpg", directory / "Release"]
        _check(files, keyrings, where=f"{suite.directory}/Release.gpg")
    elif "InRelease" not in suite.texts:
        raise BadSignature(f"{suite.directory}/Release is not signed, and the archive has a keyring")


def check_clearsigned(file: Path, keyrings: Sequence[Path], *, where: str) -> None:
    """Raise BadSignature unless a clear-signed file, in the tree known as `where`, is good."""
    _check([file], keyrings, where=where)


def fingerprint(keyrings: Sequence[Path]) -> str:
    """Tells sets of keyrings apart by their content."""
    return hashlib.sha256(b"".join(sha256_of(keyring.resolve()).encode() for keyring in keyrings)).hexdigest()


def check_keyrings(keyrings: Sequence[Path]) -> None:
    """Raise ConfigError if a keyring cannot be read; before a run begins, not in its middle."""
    for keyring in keyrings:
        if not keyring.is_file() or not os.access(keyring, os.R_OK):
            found = "does not exist" if not keyring.exists() else "is no file that can be read"
            raise ConfigError(f"the keyring {keyring} {found}", hint="check `keyring` in pushmirror.toml")


def _check(files: Sequence[Path], keyrings: Sequence[Path], *, where: str) -> None:
    chosen = [word for keyring in keyrings for word in ("--keyring", str(keyring))]
    told = process.run(["gpgv", "--status-fd", "1", *chosen, *map(str, files)], timeout_s=60)
    judge(told.output.decode("utf-8", "replace"), where=where)
