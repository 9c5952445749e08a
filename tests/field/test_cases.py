"""Every case of the field, by each strategy."""

from collections.abc import Callable

import pytest

from field import releases
from field.case import Case
from field.scene import Scene
from pushmirror.config.model import Strategy

CASES = [*releases.CASES]


@pytest.mark.parametrize(
    ("case", "strategy"),
    [pytest.param(case, one, id=f"{case.name}-{one.value}") for case in CASES for one in case.strategies],
)
def test_trouble_stays_where_it_is(case: Case, strategy: Strategy, make_scene: Callable[[Case], Scene]) -> None:
    problems = make_scene(case).problems(strategy)
    assert not problems, "\n".join(problems)
