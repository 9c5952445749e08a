"""Files that upstream replaced by others of the same name and size: no size tells, only the content.

Asked of what indices add and the tree has already. Guaranteed: what is not told of is right, by its hash, or
was vouched for under the same words before, or came since the last publish and is going to be read anyway
(see vouch.py). No archive should do that, so nearly all of it is known and nothing is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence

from pushmirror.archive.index import File
from pushmirror.archive.pathset import fingerprint
from pushmirror.sync import vouch
from pushmirror.sync.learn.question import Question
from pushmirror.system.files import mtime_of


def replaced(question: Question, files: Sequence[File], known: Collection[str]) -> list[File]:
    """Those of the files, which are here with the right size, that have another hash.

    `known` are the keys of the indices that what is here was vouched for by.
    """
    landed = question.area.landed()
    doubtful = [file for file in files if file.path not in landed and not _is_known(question, file)]
    if not doubtful:
        return []
    vouched = set(question.ledger.named({fingerprint(file.path) for file in doubtful}, known))
    unread = [(file, question.tree / file.path) for file in doubtful if file not in vouched]
    question.upstream.progress.step("comparing", files=len(unread), size=sum(file.size for file, _ in unread))
    return vouch.wrong(unread, question.upstream.progress)


def _is_known(question: Question, file: File) -> bool:
    """Whether the file had this hash when it was put there, and was not touched since."""
    entry = question.inventory.get(file.path)
    if entry is None or entry.sha256 != file.digest:
        return False
    try:
        here = os.lstat(question.tree / file.path)
    except OSError:
        return False
    return stat.S_ISREG(here.st_mode) and (here.st_size, mtime_of(here)) == (entry.size, entry.mtime)
