"""Fetch ahead: what the stage-1 filter lets through, before any index that names it.

Guaranteed: a new name enters the tree at once only where nothing live refers to it yet, and it is noted in
the work area until an index vouches for it. Not the business of this module: whether contents are right
(`staging.py`, `vouch.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pushmirror.archive.entry import Entry
from pushmirror.archive.selection import STAGE1_RULES
from pushmirror.sync.parts import Part, part_of
from pushmirror.sync.publish import Publisher
from pushmirror.sync.round import Round
from pushmirror.sync.spool import Spool
from pushmirror.sync.survey import bytes_of
from pushmirror.sync.upstream import Upstream
from pushmirror.sync.work import WorkArea

_MOST = 0.5  # of upstream's files: who lacks more fetches all there is, and takes what was missing


def fetch_early(
    round_: Round, *, tree: Path, upstream: Upstream, area: WorkArea, publisher: Publisher
) -> None:
    """Fetch what the stage-1 filter lets through; new names enter the tree at once."""
    survey = round_.survey
    missing, changed = {entry.path: entry for entry in survey.early}, _early(survey.changed)
    if missing or changed:
        files = len(missing) + len(changed)
        upstream.progress.step("fetching", files=files, size=bytes_of(missing) + bytes_of(changed))
    if changed:
        upstream.fetch(changed, area, basis=tree)
    if len(missing) > _MOST * survey.files_upstream:
        upstream.fetch_all(area, rules=STAGE1_RULES, here=tree)
    came = publisher.came(missing.values())
    if len(came) < len(missing):
        upstream.fetch(missing.keys() - came, area)
        came = publisher.came(missing.values())
    round_.incomplete = len(came) < len(missing)
    landed = publisher.land(came)
    survey.early = Spool()
    survey.missing |= {path: entry for path, entry in missing.items() if path not in landed}
    round_.landed = len(landed)


def _early(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Those that the stage-1 filter lets through."""
    return {path: entry for path, entry in entries.items() if part_of(path) in {Part.EARLY, Part.REST}}
