import io

from rich.console import Console

from pushmirror.cli.lab_console import Board, ConsoleNarrator
from pushmirror.lab.passage import Mark, Now


def drawn(everybody: list[Now], *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    board = Board(console)
    board.show(everybody)
    with console.capture() as capture:
        console.print(board)
    return capture.get().splitlines()[1:]  # without the time


def test_a_line_for_each_mirror_says_what_it_does_and_for_how_long() -> None:
    hub, site = drawn(
        [Now("hub", 1, Mark.CURRENT, "current", 2.04), Now("site1", 2, Mark.WAITS, "waits for hub")]
    )
    assert hub.split()[-4:] == ["hub", "current", "2.0", "s"]
    assert site.strip() == "site1  waits for hub"
    assert site.index("site1") == hub.index("hub") + 2


def test_where_not_all_fit_those_at_work_are_shown() -> None:
    waiting = [Now(f"site{number}", 2, Mark.WAITS, "waits for hub") for number in range(30)]
    lines = drawn([*waiting, Now("site99", 2, Mark.WORKS, "stage 1", 1.0)], height=10)
    assert len(lines) < 10
    assert "site99" in lines[0]


def test_no_line_is_folded_or_obeyed_by_a_terminal() -> None:
    (line,) = drawn([Now("site1", 1, Mark.FAILS, "failed: \x1b[31m" + "x" * 200)], width=60)
    assert len(line) <= 60
    assert "\x1b" not in line


def test_in_a_pipe_a_board_is_not_drawn() -> None:
    out = io.StringIO()
    with ConsoleNarrator(Console(file=out)).board() as board:
        board.show([Now("hub", 1, Mark.WORKS, "stage 1", 1.0)])
    assert out.getvalue() == ""
