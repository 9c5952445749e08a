from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.access import daemon_files
from pushmirror.access.tls import Certificate
from pushmirror.checks import hub
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError
from pushmirror.status.words import Level

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def about(monkeypatch, read) -> list[tuple[Level, str]]:
    monkeypatch.setattr(hub, "read_certificate", read)
    return [(one.level, one.found) for one in hub.tls(Config(), NOW)]


@pytest.mark.parametrize(
    ("begins", "expires", "level", "said"),
    [
        (-DAY, 60 * DAY, Level.OK, "for 60 days"),
        (-DAY, 13 * DAY, Level.WARNING, "expires in 13 days"),
        (-2 * DAY, -DAY, Level.ERROR, "expired at 2026-01-30 12:00 UTC"),
        (DAY, 60 * DAY, Level.ERROR, "only from 2026-02-01"),
    ],
)
def test_a_certificate_is_judged_by_its_time(monkeypatch, begins, expires, level, said):
    seen = Certificate(NOW + begins, NOW + expires)
    [(found, words)] = about(monkeypatch, lambda _: seen)
    assert found is level and said in words


def test_a_certificate_that_cannot_be_used_is_an_error_with_its_reason(monkeypatch):
    def read(_):
        raise ConfigError("the key does not belong to the certificate")

    assert about(monkeypatch, read) == [(Level.ERROR, "the key does not belong to the certificate")]


def test_without_a_certificate_there_is_nothing_to_say(monkeypatch):
    assert about(monkeypatch, lambda _: None) == []


@pytest.mark.parametrize(("size", "warned"), [(512 * 1024**2, False), (513 * 1024**2, True)])
def test_a_log_that_grows_and_grows_is_a_warning(tmp_path, size, warned):
    config = Config.model_validate({"state": {"directory": str(tmp_path)}})
    log = daemon_files.places(config).log
    log.parent.mkdir()
    with log.open("wb") as file:
        file.truncate(size)  # without a block on the disk
    assert [one.level for one in hub.logs(config)] == [Level.WARNING] * warned
