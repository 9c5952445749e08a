"""Every case of the field, by each strategy."""

from collections import Counter
from collections.abc import Callable

import pytest

from field import daemons, incomplete, indices, layouts, partial, release_day, releases, trees
from field.case import Case
from field.mirror import mirroring
from field.scene import Scene
from pushmirror.config.model import Strategy

TABLES = (releases, indices, layouts, trees, release_day, daemons, partial, incomplete)
CASES = [case for table in TABLES for case in table.CASES]


def test_every_case_has_a_name_of_its_own() -> None:
    assert [name for name, times in Counter(case.name for case in CASES).items() if times > 1] == []
    assert len(CASES) > 120


@pytest.mark.parametrize(
    ("case", "strategy"),
    [pytest.param(case, one, id=f"{case.name}-{one.value}") for case in CASES for one in case.strategies],
)
def test_trouble_stays_where_it_is(
    case: Case, strategy: Strategy, make_scene: Callable[[Case], Scene]
) -> None:
    with mirroring(make_scene(case), strategy) as mirror:
        problems = mirror.problems()
    assert not problems, "\n".join(problems)
