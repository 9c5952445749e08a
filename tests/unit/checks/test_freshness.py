from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.checks.freshness import cron, judge, timers
from pushmirror.config.model import Archive
from pushmirror.state.records import Request, Stage
from pushmirror.status.words import Level

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ARCHIVE = Archive.model_validate({"name": "debian", "path": "/srv/debian", "upstream": "rsync://hub/debian"})
ASKED = Request(1, "debian", Stage.ALL, False, "ssh", "::1", "", None, NOW - HOUR)


@pytest.mark.parametrize(
    ("line", "starts"),
    [
        ("17 5 * * * archvsync /usr/local/bin/pushmirror sync -T cron", True),
        ("17 5 * * * archvsync ftpsync-cron", True),
        ("17 5 * * * archvsync /usr/local/bin/pushmirror verify", False),
        ("#17 5 * * * archvsync /usr/local/bin/pushmirror sync", False),
    ],
)
def test_a_line_of_cron_that_syncs_is_found(tmp_path, line, starts):
    (tmp_path / "etc/cron.d").mkdir(parents=True)
    (tmp_path / "etc/cron.d/mirror").write_text(f"MAILTO=root\n{line}\n")
    assert list(cron(tmp_path)) == (["/etc/cron.d/mirror"] if starts else [])


@pytest.mark.parametrize("enabled", [True, False])
def test_a_timer_counts_when_it_is_enabled(tmp_path, enabled):
    units = tmp_path / "etc/systemd/system"
    (units / "timers.target.wants").mkdir(parents=True)
    (units / "mirror.timer").write_text("[Timer]\nOnCalendar=hourly\n")
    (units / "mirror.service").write_text("[Service]\nExecStart=/usr/local/bin/pushmirror sync --no-push\n")
    if enabled:
        (units / "timers.target.wants/mirror.timer").symlink_to(units / "mirror.timer")
    assert list(timers(tmp_path, tmp_path / "home")) == (["mirror.timer"] if enabled else [])


def test_a_timer_of_the_user_may_name_its_service(tmp_path):
    units = tmp_path / "home/.config/systemd/user"
    (units / "timers.target.wants").mkdir(parents=True)
    (units / "timers.target.wants/a.timer").write_text("[Timer]\nUnit=b.service\n")
    (units / "b.service").write_text("ExecStart=ftpsync\n")
    assert list(timers(tmp_path, tmp_path / "home")) == ["a.timer"]


def test_a_push_that_came_lately_is_enough():
    one = judge(ARCHIVE, ASKED, [], NOW)
    assert (one.level, one.found) == (Level.OK, "triggered by ssh 60 min ago")


@pytest.mark.parametrize("more", [{"trigger": "manual"}, {"arrived_at": NOW - 36 * HOUR}])
def test_neither_a_sync_by_hand_nor_an_old_push_shows_that_anything_syncs(more):
    one = judge(ARCHIVE, replace(ASKED, **more), [], NOW)
    assert one.level is Level.WARNING and ">> /etc/cron.d/pushmirror" in one.todo and " USER " not in one.todo
