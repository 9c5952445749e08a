"""Check an archive's keyring against its Release files.

Those of the served tree, or upstream's if there is none yet. Not the business of this module: whether
upstream can be reached (`checks/upstream.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.checks.machine import readable
from pushmirror.config.model import DEBIAN_KEYRING, Archive, looks_like_debian
from pushmirror.errors import ArchiveError, BadSignature, ConfigError, PushmirrorError
from pushmirror.fetch.upstream import Upstream
from pushmirror.progress import Silent
from pushmirror.tree.published_state import Suite, read_published
from pushmirror.tree.release_signatures import check_keyrings, check_signatures

_LIMIT = timedelta(minutes=10)  # for upstream's Release files, some MB


def of_archive(archive: Archive) -> Iterator[Finding]:
    """The findings about an archive's keyrings and signatures."""
    if archive.keyring:
        findings = [keyring(f"keyring of {archive.name}", file) for file in archive.keyring]
        yield from findings
        if not any(one.todo for one in findings):
            yield from _signed(archive)
    elif archive.upstream and not _is_plain(archive.path):
        example = DEBIAN_KEYRING if looks_like_debian(archive.name) else "/path/of/the/archive's/keyring.gpg"
        found = "not set: signatures are not checked"
        yield warning(f"keyring of {archive.name}", found, f'set keyring = "{example}"')


def keyring(subject: str, file: Path) -> Finding:
    """The finding about a keyring: readable by gpgv, binary or armored, a file or a directory."""
    found = ok(subject, f"{file} (a directory)") if file.is_dir() else readable(subject, file)
    if found.todo:
        return found
    try:
        check_keyrings([file])
    except ConfigError as exc:
        return error(subject, str(exc), "name another file")
    return found


def _signed(archive: Archive) -> Iterator[Finding]:
    subject = f"signatures of {archive.name}"
    try:
        served = read_published(archive.path, archive.release_directories)
        if served.suites:
            yield judge(subject, list(served.suites.values()), archive.path, archive.keyring, where="here")
        elif archive.upstream:
            yield from _signed_upstream(subject, archive)
    except ArchiveError as exc:
        yield warning(
            subject, str(exc), "try again later: upstream may be updating; if it stays, tell its operator"
        )
    except PushmirrorError:
        return  # errors of upstream or a program are reported by their own checks


def _signed_upstream(subject: str, archive: Archive) -> Iterator[Finding]:
    brief = archive.model_copy(update={"time_limit": min(archive.time_limit, _LIMIT)})
    with tempfile.TemporaryDirectory(prefix="pushmirror-check-") as made:
        copy = Path(made) / "upstream"
        Upstream(brief, Silent()).pin(copy)
        suites = list(read_published(copy, archive.release_directories).suites.values())
        if suites:
            yield judge(subject, suites, copy, archive.keyring, where="at upstream")


def judge(
    subject: str, suites: Sequence[Suite], tree: Path, keyrings: Sequence[Path], *, where: str
) -> Finding:
    """The finding about each suite's signature; raises ProgramMissing without gpgv."""
    wrong: list[str] = []
    for suite in suites:
        try:
            check_signatures(suite, tree, keyrings)
        except BadSignature as exc:
            wrong.append(str(exc))
    if not wrong:
        return ok(subject, f"{len(suites)} suites {where} are signed by keys of the keyring")
    others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    meanwhile = "nothing is synced" if len(wrong) == len(suites) else "these suites are held back"
    return error(subject, f"{wrong[0]}{others}", f"set the keyring of this archive; {meanwhile} until then")


def _is_plain(tree: Path) -> bool:
    """Whether the present tree has no suites."""
    return tree.is_dir() and any(tree.iterdir()) and not (tree / "dists").is_dir()
