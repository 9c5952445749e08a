"""The short form of the campaign (`./run faults`): each part, with a few of its tries."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from faults.__main__ import PARTS

from pushmirror.system import process

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", PARTS)
def test_no_promise_is_broken_in_the_short_form_of(tmp_path: Path, part: str) -> None:
    argv = [sys.executable, "-m", "faults", part, "--short", "--json", "--directory", str(tmp_path)]
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    result = process.run(argv, env=environment, timeout_s=900)
    assert result.exit_code == 0, result.errors
    (tally,) = json.loads(result.output)
    if tally["needs"]:
        pytest.skip(tally["needs"])
    assert tally["tries"] > 0, tally
