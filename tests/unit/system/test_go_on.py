"""Work of ours that goes on when we are gone; each case in a process of its own, which is copied there."""

import sys
from pathlib import Path

import pytest

from pushmirror.lab.service import wait_until
from pushmirror.system import process

_CALLER = """
import os, sys, time
from pathlib import Path
from pushmirror.system.detached import go_on
directory = Path(sys.argv[1])
{work}
word = go_on(work, log=directory / "log")
{then}
"""


def called(directory: Path, work: str, then: str) -> list[str]:
    """What the caller printed."""
    script = _CALLER.format(work=work, then=then)
    return (
        process.run([sys.executable, "-c", script, str(directory)], timeout_s=30)
        .check()
        .output.decode()
        .split()
    )


def test_it_goes_on_after_its_caller_in_a_session_of_its_own_at_no_directory(tmp_path: Path) -> None:
    work = """
def work(tell):
    for _ in range(600):
        if (directory / "go").exists():
            break
        time.sleep(0.05)
    print(os.getcwd(), os.getsid(0) != int(sys.argv[2]), sys.stdin.read() == "", flush=True)
    tell("nobody is listening")
    (directory / "over").touch()
    return 0
sys.argv.append(str(os.getsid(0)))
"""
    assert called(tmp_path, work, "print('back')") == ["back"]
    (tmp_path / "go").touch()
    assert wait_until((tmp_path / "over").exists)
    assert (tmp_path / "log").read_text() == "/ True True\n"


def test_its_words_are_heard_until_it_has_ended(tmp_path: Path) -> None:
    work = """
def work(tell):
    tell("one")
    tell("two")
    return 0
"""
    then = "print([word.hear(), word.hear(20), word.hear()])"
    assert called(tmp_path, work, then) == ["['one',", "'two',", "'']"]


def test_nobody_waits_for_its_words_for_longer_than_wanted(tmp_path: Path) -> None:
    work = """
def work(tell):
    for _ in range(600):
        if (directory / "go").exists():
            break
        time.sleep(0.05)
    tell("late")
    return 0
"""
    then = "first = word.hear(0); (directory / 'go').touch(); print([first, word.hear()])"
    assert called(tmp_path, work, then) == ["[None,", "'late']"]


@pytest.mark.parametrize("end", ["raise ValueError('no')", "sys.exit(3)"])
def test_what_it_raises_goes_to_the_log_and_is_no_affair_of_the_caller(tmp_path: Path, end: str) -> None:
    work = f"""
def work(tell):
    {end}
"""
    then = "try: print([word.hear()])\nfinally: print('back')"
    assert called(tmp_path, work, then) == ["['']", "back"]
    assert wait_until(lambda: "Traceback" in (tmp_path / "log").read_text())
