from __future__ import annotations

import pytest

from pushmirror.cli.sync import foretell
from pushmirror.sync.deletion import Deletion
from pushmirror.sync.engine import Preview


def test_a_dry_run_says_how_it_learnt_what_changed_and_why_not_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    why = "it works with any rsync daemon; strategy index not used: a dry run fetches no indices"
    foretell("debian", Preview((), (), Deletion(), "a" * 64, "a" * 64, strategy="full", why=why))
    assert capsys.readouterr().out.splitlines()[1:] == [f"by full: {why}", "nothing to do"]


def test_a_dry_run_names_the_suites_that_it_would_hold_back(capsys: pytest.CaptureFixture[str]) -> None:
    foretell(
        "debian", Preview((), (), Deletion(), "", "", held={"dists/b": "dists/b/InRelease: no signature"})
    )
    assert "held back dists/b: dists/b/InRelease: no signature" in capsys.readouterr().out.splitlines()


def test_what_a_dry_run_was_told_is_not_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    foretell("debian", Preview((), (), Deletion(), "", "", strategy="full", why="\x1b[31mred"))
    assert "\x1b" not in capsys.readouterr().out
