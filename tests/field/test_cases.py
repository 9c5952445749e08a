"""Every case of the field, by each strategy.

Those that can be are many in one archive, which takes a fifth of the time, and is a harder test of the same
promise. To see one of them in an archive of its own, set EACH_ALONE=1 and ask for it by -k.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from types import ModuleType

import pytest

from field import daemons, incomplete, indices, layouts, partial, release_day, releases, trees
from field.case import Case
from field.crowd import STRATEGIES, Crowd, crowd
from field.mirror import mirroring
from field.scene import Scene
from pushmirror.config.model import Strategy

TABLES = (releases, indices, layouts, trees, release_day, daemons, partial, incomplete)
CASES = [case for table in TABLES for case in table.CASES]
EACH_ALONE = bool(os.environ.get("EACH_ALONE"))


def _crowds(*tables: ModuleType) -> dict[str, list[Case]]:
    """Cases of one table that can be in one archive and are synced as often."""
    found: dict[str, list[Case]] = {}
    for table in tables:
        about = table.__name__.rpartition(".")[2]
        for case in filter(lambda case: case.is_sociable, table.CASES):
            options = re.findall(r"\w+", str(dict(case.options)))
            kind = "_".join([about, f"{len(case.steps)}_steps", *options])
            found.setdefault(kind, []).append(case)
    return {name: cases for name, cases in found.items() if len(cases) > 1}


CROWDS = _crowds(releases, indices, trees, partial, incomplete)
_IN_A_CROWD = {case.name for cases in CROWDS.values() for case in cases}


def test_every_case_has_a_name_of_its_own() -> None:
    assert [name for name, times in Counter(case.name for case in CASES).items() if times > 1] == []
    assert len(CASES) > 120


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", CROWDS)
def test_many_odd_suites_have_each_a_fate_of_its_own(
    name: str, strategy: Strategy, make_scene: Callable[[Case], Scene]
) -> None:
    scene = make_scene(crowd(name, CROWDS[name]))
    with mirroring(scene, strategy) as mirror:
        found = Crowd(mirror, CROWDS[name]).problems()
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("case", "strategy"),
    [
        pytest.param(case, one, id=f"{case.name}-{one.value}")
        for case in CASES
        if EACH_ALONE or case.name not in _IN_A_CROWD
        for one in case.strategies
    ],
)
def test_trouble_stays_where_it_is(
    case: Case, strategy: Strategy, make_scene: Callable[[Case], Scene]
) -> None:
    with mirroring(make_scene(case), strategy) as mirror:
        found = mirror.problems()
    assert not found, "\n".join(found)
