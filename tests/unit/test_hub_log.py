import logging
from pathlib import Path

import pytest

from pushmirror import runner

FULL = Path("/dev/full")


def test_a_runs_log_has_everything_and_leaves_the_level_as_it_was(tmp_path):
    logger = logging.getLogger("pushmirror")
    before = logger.level
    with runner.logged_to(tmp_path / "log"):
        logger.debug("a detail")
    assert "a detail" in (tmp_path / "log").read_text() and logger.level == before


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_costs_its_lines_and_a_word_not_the_run(capsys, caplog):
    with runner.logged_to(FULL):
        for number in range(20):
            logging.getLogger("pushmirror").info("line %d", number)
    assert "Traceback" not in capsys.readouterr().err
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "log /dev/full is incomplete, cannot write to it: No space left on device"
    ]


def test_a_log_that_cannot_be_opened_costs_its_lines_not_the_run(tmp_path, caplog):
    with runner.logged_to(tmp_path / "missing" / "log"):
        logging.getLogger("pushmirror").info("a line")
    assert "is incomplete, cannot write to it: No such file or directory" in caplog.text
