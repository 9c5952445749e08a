"""Follow the signed list `extrafiles`: README files, doc, indices, tools, which no Release file names.

Guaranteed: what it changes in the tree has the listed hash, and where the archive has a keyring, the list is
signed. It is no part of what makes an archive whole: what is wrong with it is told, and `full` will put it
right. What it names no more stays until then: a link may point to it, and links are not listed.
"""

from __future__ import annotations

import logging
import os
import stat
from functools import partial
from pathlib import Path

from pushmirror.archive.entry import Entry, Kind
from pushmirror.archive.extrafiles import parse_extrafiles
from pushmirror.errors import ArchiveError
from pushmirror.sync.learn.question import Question
from pushmirror.sync.parts import TRACES, Part, part_of
from pushmirror.sync.signatures import check_clearsigned
from pushmirror.sync.survey import Survey
from pushmirror.system.files import mtime_of, read_at_most, sha256_of

_log = logging.getLogger(__name__)
LIST = "extrafiles"
_MAX_LIST = 2**26  # bytes; Debian's has 1 MiB


def lists_to_ask_for(question: Question) -> list[str]:
    """The name of the list, if upstream may have it and it may be mirrored."""
    is_carried = _is_file(question.tree / LIST) or not question.base.suites
    return [LIST] if is_carried and question.selection.wants(LIST) else []


def take_extrafiles(question: Question, survey: Survey) -> None:
    """Fetch what changed in the list, which came into the area, and note what is right."""
    came, here = question.area.sha256_of(LIST), question.tree / LIST
    if came is None or _is_right(here, came):
        return
    try:
        if question.archive.keyring:
            check_clearsigned(question.area.at(LIST), question.archive.keyring, where=LIST)
        new = _read(question.area.at(LIST))
        old = _read(here) if _is_file(here) else {}
    except ArchiveError as exc:
        _log.warning("what it names is left alone: %s", exc)
        return
    changed = {path: sha256 for path, sha256 in new.items() if old.get(path) != sha256}
    if _take(question, survey, {path: changed[path] for path in changed if is_followed(question, path)}):
        _note(question, survey, LIST)


def _take(question: Question, survey: Survey, changed: dict[str, str]) -> bool:
    """Fetch the changed files; whether all of them are what the list says."""
    lacking = [path for path, sha256 in changed.items() if not _is_right(question.tree / path, sha256)]
    if not lacking:
        return True
    question.upstream.fetch(lacking, question.area, basis=question.tree)
    right = [path for path in lacking if question.area.sha256_of(path) == changed[path]]
    for path in right:
        _note(question, survey, path)
    if len(right) < len(lacking):
        wrong = next(path for path in lacking if path not in set(right))
        _log.info("%d files are not as %s says, such as %s", len(lacking) - len(right), LIST, wrong)
    return len(right) == len(lacking)


def is_followed(question: Question, path: str) -> bool:
    """Whether the list decides about a path: it is mirrored, and no Release file covers what is there."""
    in_suite = path.count("/") > 1 if path.startswith("dists/") else part_of(path) is Part.EARLY
    ours = path.startswith(f"{TRACES}/") or question.leave_out(path) or path == LIST
    return not in_suite and not ours and question.selection.wants(path)


def _note(question: Question, survey: Survey, path: str) -> None:
    found = question.area.fetched(path)
    assert found is not None
    sha256 = question.area.sha256_of(path) or ""
    entry = Entry(path, Kind.FILE, found.st_size, mtime_of(found), sha256=sha256)
    (survey.changed if os.path.lexists(question.tree / path) else survey.missing)[path] = entry


def _read(file: Path) -> dict[str, str]:
    refused = partial(_log.info, "left out: %s")
    return parse_extrafiles(read_at_most(file, _MAX_LIST, where=LIST), where=LIST, refused=refused)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_right(file: Path, sha256: str) -> bool:
    return _is_file(file) and sha256_of(file) == sha256
