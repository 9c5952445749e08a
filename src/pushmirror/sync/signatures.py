"""Whether Release files are signed by a key of the archive's keyring, on gpgv's word."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pushmirror.archive.signature import judge
from pushmirror.errors import BadSignature, ConfigError
from pushmirror.sync.parts import joined
from pushmirror.sync.published import Suite
from pushmirror.system import process
from pushmirror.system.files import sha256_of


def check_signatures(suite: Suite, tree: Path, keyrings: Sequence[Path]) -> tuple[str, ...]:
    """The keys by which the form of a suite's Release that apt reads, below `tree`, is signed.

    Raises BadSignature unless one of them is of the keyrings.
    """
    files = {name: tree / path for name, path in suite.files.items() if name in suite.texts}
    if "InRelease" in files:
        return _check([files["InRelease"]], keyrings, where=joined(suite.directory, "InRelease"))
    if "Release.gpg" in files and "Release" in files:
        where = joined(suite.directory, "Release.gpg")
        return _check([files["Release.gpg"], files["Release"]], keyrings, where=where)
    raise BadSignature(f"{joined(suite.directory, 'Release')} is not signed, and the archive has a keyring")


def detached_problem(suite: Suite, tree: Path, keyrings: Sequence[Path]) -> str:
    """What is wrong with the Release.gpg beside an InRelease; empty if nothing is, or there is none."""
    if not suite.texts.keys() >= {"InRelease", "Release", "Release.gpg"}:
        return ""
    files = [tree / suite.files["Release.gpg"], tree / suite.files["Release"]]
    try:
        _check(files, keyrings, where=joined(suite.directory, "Release.gpg"))
    except BadSignature as exc:
        return str(exc)
    return ""


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


def _check(files: Sequence[Path], keyrings: Sequence[Path], *, where: str) -> tuple[str, ...]:
    chosen = [word for keyring in keyrings for word in ("--keyring", str(keyring))]
    told = process.run(["gpgv", "--status-fd", "1", *chosen, *map(str, files)], timeout_s=60)
    return judge(told.output.decode("utf-8", "replace"), where=where).keys
