import logging

from pushmirror import hub


def test_a_runs_log_has_everything_and_leaves_the_level_as_it_was(tmp_path):
    logger = logging.getLogger("pushmirror")
    before = logger.level
    with hub._logged_to(tmp_path / "log"):
        logger.debug("a detail")
    assert "a detail" in (tmp_path / "log").read_text() and logger.level == before
