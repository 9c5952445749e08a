"""The strategy `full`: upstream's listing of its whole tree against the disk, both read at the same time."""

from __future__ import annotations

from collections.abc import Iterator

from pushmirror.archive.filters import STAGE1_RULES
from pushmirror.archive.generation import TreeDigest
from pushmirror.changes.local_changes import drift_among, in_words
from pushmirror.changes.question import Question
from pushmirror.inventory.diff import Comparison, Survey, scanner
from pushmirror.state.records import Stage


def by_full(question: Question) -> Survey:
    """Compare every name of upstream's tree with ours."""
    scan = scanner(question.tree, leave_out=question.leave_out)
    digest = None if question.pinned.suites else TreeDigest()
    comparison = Comparison(question.tree, scan, digest=digest)
    rules = STAGE1_RULES if question.stage is Stage.STAGE1 else ()
    unseen = question.upstream.listing(comparison.take, empty=question.area.empty, rules=rules)
    survey = comparison.finish()
    if unseen:  # what upstream could not show may well be there: it stays here
        survey.deviates = True
        survey.extras = [path for path in survey.extras if not unseen.covers(path)]
        survey.extra_directories = [path for path in survey.extra_directories if not unseen.covers(path)]
    survey.compared_disk, survey.generation = True, survey.digest
    drift = drift_among(_differing(survey), question.tree, question.inventory)
    survey.how = in_words(drift)
    if drift and not question.is_dry:
        question.inventory.distrust()  # this run puts it right, if it comes to its end
    return survey


def _differing(survey: Survey) -> Iterator[str]:
    """Every name that is not here what it is at upstream."""
    yield from (entry.path for entry in survey.early)
    for some in (survey.missing, survey.changed, survey.links, survey.directories):
        yield from some
    yield from survey.extras
    yield from survey.extra_directories
