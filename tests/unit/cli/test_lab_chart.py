import pytest

from pushmirror.cli.lab_console import chart
from pushmirror.lab.passage import Call, Passed
from pushmirror.state.records import Stage


def call(stage: Stage, sent_s: float, ended_s: float | None, exit_code: int | None = 0) -> Call:
    return Call(stage, sent_s, ended_s, exit_code, "")


def passed(name: str, depth: int, *calls: Call, current_s: float | None = None) -> Passed:
    return Passed(name, depth, calls, current_s)


def lines(*mirrors: Passed, width: int = 80) -> list[str]:
    return [line.plain for line in chart(mirrors, width)]


STAGED = (call(Stage.STAGE1, 0, 4), call(Stage.STAGE2, 6, 10))


def test_stages_stand_where_they_were_and_what_is_between_them_is_seen() -> None:
    _, hub, site, _ = lines(
        passed("hub", 1, *STAGED, current_s=9), passed("site1", 2, *STAGED, current_s=10), width=41
    )
    assert hub == "hub      111111111....2222222222   9.0 s"
    assert site == "  site1  111111111....2222222222  10.0 s"


def test_the_axis_is_marked_in_whole_steps() -> None:
    axis = lines(passed("hub", 1, *STAGED, current_s=10))[0]
    assert axis.split() == ["0", "s", "2", "s", "4", "s", "6", "s", "8", "s"]


@pytest.mark.parametrize("exit_code", [3, None])
def test_a_failed_call_is_told_from_the_others(exit_code: int | None) -> None:
    failed = call(Stage.STAGE1, 0, 4, exit_code)
    _, line, legend = lines(passed("hub", 1, failed, call(Stage.STAGE1, 6, 10)))
    assert set(line.split()[1]) == set("x1.")
    assert line.endswith(" late")
    assert "x failed" in legend


def test_a_call_without_an_answer_is_one_mark() -> None:
    _, line, *_ = lines(passed("hub", 1, call(Stage.ALL, 2, None, None)), passed("other", 1, *STAGED))
    assert line.split()[1] == "a"


def test_no_line_is_wider_than_there_is_room_for() -> None:
    mirrors = passed("hub", 1, *STAGED, current_s=1234.5), passed("site3ba", 4, *STAGED)
    for width in (60, 80, 100):
        assert max(map(len, lines(*mirrors, width=width)[:-1])) <= width


def test_who_was_not_woken_has_an_empty_line() -> None:
    assert lines(passed("hub", 1, *STAGED, current_s=10), passed("site1", 2))[2].split() == ["site1", "late"]


def test_a_push_of_nobody_is_no_picture() -> None:
    assert lines(passed("hub", 1)) == []
