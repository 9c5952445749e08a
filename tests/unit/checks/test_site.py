from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pushmirror.checks import site as doctor
from pushmirror.config.model import Config, PushKind, Site
from pushmirror.errors import HostKeyChanged, TriggerFailed
from pushmirror.push.ssh.probe import HostKey, Probe
from pushmirror.push.trigger_sender import Answer

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
SITE = Site(name="a.example", host="h", user="u", archives=["debian"])
FTPSYNC = Answer(78, "Can't read config file ftpsync-.pushmirror-check.conf!\n")
TROUBLE = TriggerFailed("it went wrong", hint="do this")


def judged(**probe) -> list[tuple[str, str]]:
    return [(one.subject, one.level.value) for one in doctor.judge(SITE, Probe(**probe), NOW)]


def test_a_site_where_all_is_well_is_told_step_by_step():
    assert judged(
        addresses=("::1",), host_key=HostKey.PINNED, fingerprint="SHA256:x", is_let_in=True, answer=FTPSYNC
    ) == [
        ("name of a.example", "ok"),
        ("port of a.example", "ok"),
        ("host key of a.example", "ok"),
        ("login at a.example", "ok"),
    ]


@pytest.mark.parametrize(
    ("probe", "last"),
    [
        ({}, ("name of a.example", "error")),
        ({"addresses": ("::1",)}, ("port of a.example", "error")),
        ({"host_key": HostKey.NEW}, ("login at a.example", "error")),
        ({"host_key": HostKey.PINNED}, ("login at a.example", "error")),
        ({"host_key": HostKey.PINNED, "is_let_in": True}, ("login at a.example", "warning")),
    ],
)
def test_what_ends_the_way_to_a_site_is_told_where_it_ended(probe, last):
    assert judged(**probe, trouble=TROUBLE)[-1] == last


def test_a_changed_host_key_is_the_end():
    changed = HostKeyChanged("it is another", hint="ask")
    found = judged(addresses=("::1",), host_key=HostKey.CHANGED, fingerprint="SHA256:x", trouble=changed)
    assert found[-1] == ("host key of a.example", "error")


def test_what_went_wrong_comes_with_what_to_do():
    (told,) = doctor.judge(SITE, Probe(trouble=TROUBLE), NOW)
    assert (told.found, told.todo) == ("it went wrong", "do this")


def test_a_site_that_does_not_answer_in_time_may_be_syncing():
    (*_, told) = doctor.judge(SITE, Probe(host_key=HostKey.PINNED, is_let_in=True, trouble=TROUBLE), NOW)
    assert "it may be syncing" in told.todo


def test_a_site_that_is_not_woken_is_not_knocked_at():
    (told,) = doctor.of_sites([SITE.model_copy(update={"push": PushKind.NONE})], Config())
    assert told.found == 'not pushed: push = "none"'
