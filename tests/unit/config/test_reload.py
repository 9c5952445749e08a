from __future__ import annotations

import pytest

from pushmirror.config.loader import load
from pushmirror.config.reload import CurrentConfig

SITE = 'host = "h"\nuser = "u"\narchives = ["debian"]\n'


@pytest.fixture
def add_site(tmp_path):
    (tmp_path / "pushmirror.toml").write_text(f'[archives.debian]\npath = "{tmp_path}/tree"\n')
    (tmp_path / "sites.d").mkdir()
    return lambda text=SITE: (tmp_path / "sites.d" / "a.toml").write_text(text)


@pytest.fixture
def current(tmp_path, add_site):
    return CurrentConfig(load(tmp_path))


def test_without_a_change_it_is_the_very_same(current):
    assert current() is current()


def test_a_change_is_seen(current, add_site):
    assert not current().sites
    add_site()
    assert [*current().sites] == ["a"]


def test_what_changed_between_reading_it_and_the_first_look_is_seen(current, add_site):
    add_site()
    assert [*current().sites] == ["a"]


def test_while_it_has_a_mistake_the_last_good_one_counts_and_the_mistake_is_told_once(
    current, add_site, caplog
):
    add_site()
    good = current()
    add_site("host = 1")
    assert current() is good and current() is good
    assert len([record for record in caplog.records if "invalid configuration" in record.message]) == 1
    assert "a.toml: host" in str(current.mistake)
    add_site(SITE.replace('"h"', '"other"'))
    assert current().sites["a"].host == "other" and current.mistake is None
