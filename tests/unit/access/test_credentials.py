from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.access import credentials
from pushmirror.access.credentials import Login
from pushmirror.errors import ConfigError

NAME = "site1.example.com"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
FILE = Path("sites.d/site1.example.com.secret")


def users(logins):
    return [login.user for login in logins]


def test_the_first_user_is_the_sites_name():
    assert users(credentials.first(NAME, "x")) == [NAME]


def test_after_a_rotation_the_old_login_works_until_the_grace_is_over():
    old, new = credentials.rotated(credentials.first(NAME, "x"), NAME, "y", now=NOW, grace=WEEK)
    assert (old.user, old.password, old.until) == (NAME, "x", NOW + WEEK)
    assert (new.user, new.password, new.until) == (f"{NAME}+2", "y", None)


def test_a_second_rotation_does_not_prolong_the_oldest_login():
    once = credentials.rotated(credentials.first(NAME, "x"), NAME, "y", now=NOW, grace=WEEK)
    twice = credentials.rotated(once, NAME, "z", now=NOW + timedelta(days=1), grace=WEEK)
    assert users(twice) == [NAME, f"{NAME}+2", f"{NAME}+3"]
    assert [login.until for login in twice] == [NOW + WEEK, NOW + timedelta(days=8), None]


def test_what_is_over_goes_with_the_next_rotation_and_its_name_does_not_come_back():
    once = credentials.rotated(credentials.first(NAME, "x"), NAME, "y", now=NOW, grace=timedelta())
    assert users(once) == [f"{NAME}+2"]
    assert users(credentials.rotated(once, NAME, "z", now=NOW, grace=timedelta())) == [f"{NAME}+3"]


def test_a_site_without_a_login_gets_its_first_by_a_rotation():
    assert users(credentials.rotated((), NAME, "x", now=NOW, grace=WEEK)) == [NAME]


@pytest.mark.parametrize(("later", "works"), [(WEEK - timedelta(seconds=1), True), (WEEK, False)])
def test_a_login_works_until_its_time_and_not_at_it(later, works):
    login = Login(user=NAME, password="x", until=NOW + WEEK)
    assert bool(credentials.valid([login], NOW + later)) is works


def test_the_newest_login_that_works_is_the_one_to_tell():
    logins = [Login(user=NAME, password="x"), Login(user=f"{NAME}+2", password="y", until=NOW)]
    told = credentials.current(logins, NOW)
    assert told is not None and told.user == NAME


passwords = st.from_regex(credentials._PASSWORD, fullmatch=True)


@given(st.lists(st.tuples(passwords, st.none() | st.datetimes(timezones=st.just(UTC))), max_size=4))
def test_what_is_written_is_what_is_read(made):
    logins = tuple(
        Login(user=NAME if number == 1 else f"{NAME}+{number}", password=password, until=until)
        for number, (password, until) in enumerate(made, 1)
    )
    assert credentials.parse(credentials.render(NAME, logins), NAME, FILE) == logins


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("login = 1", r"expected sections \[\[login\]\]"),
        ("[other]", r"expected sections \[\[login\]\]"),
        ('login = ["hunter2"]', r"login 1: expected a section"),
        ('[[login]]\nuser = "site1.example.com"', "login 1.password: this key is missing"),
        ('[[login]]\nuser = "site2"\npassword = "hunter2"', r"login 1\.user: expected site1"),
        ('[[login]]\nuser = "site1.example.com+1"\npassword = "hunter2"', "expected site1"),
        ('[[login]]\nuser = "site1.example.com+02"\npassword = "hunter2"', "expected site1"),
        ('[[login]]\nuser = "site1.example.com"\npassword = ""', "expected 1 to 200 characters"),
        ('[[login]]\nuser = "site1.example.com"\npassword = "hunter2\\n"', "expected 1 to 200 characters"),
        ('[[login]]\nuser = "site1.example.com"\npasswort = "hunter2"', "did you mean password"),
        (
            '[[login]]\nuser = "site1.example.com"\npassword = "hunter2"\nuntil = 2026-01-31T12:00:00',
            "with its time zone",
        ),
        *(
            (f'[[login]]\nuser = "{NAME}"\npassword = "hunter2"\nuntil = {until}', what)
            for until, what in {
                "0001-01-01T00:00:00+23:59": r"login 1\.until: expected a time",
                "9" * 5000: "not valid TOML",
                "[" * 5000: "not valid TOML",
            }.items()
        ),
        ("[[login]]\nuser = hunter2", r"not valid TOML \(at line 2, column 8\)"),
        ('[[login]]\nhunter2 = "x"', "login 1: unknown key; known are password, until, user"),
        ("[[login]]\nhunter2", r"not valid TOML \(at "),
        ("[[login]]\nx = {hunter2 = 1, hunter2 = 1}", r"not valid TOML \(at "),
        ('[[login]]\nuser = "hunter2"\npassword = "x"', r"login 1\.user: expected site1"),
        ('[[login]]\nuser = ["hunter2"]\npassword = "x"', r"login 1\.user: expected text"),
        (
            f'[[login]]\nuser = "{NAME}"\npassword = "x"\nuntil = "hunter2"',
            r"login 1\.until: expected a time",
        ),
        (f'[[login]]\nuser = "{NAME}"\npassword = ["hunter2"]', r"login 1\.password: expected 1 to 200"),
    ],
)
def test_a_mistake_is_named_and_no_password_with_it(text, what):
    with pytest.raises(ConfigError, match=what) as caught:
        credentials.parse(text, NAME, FILE)
    assert str(FILE) in str(caught.value) and "hunter2" not in str(caught.value)


def test_a_user_may_not_be_there_twice():
    text = f'[[login]]\nuser = "{NAME}"\npassword = "x"\n' * 2
    with pytest.raises(ConfigError, match="each user once"):
        credentials.parse(text, NAME, FILE)


def test_a_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / FILE.name
    file.write_text(credentials.render(NAME, credentials.first(NAME, "x")))
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="expected mode 0600"):
        credentials.read(file, NAME)


def test_a_site_without_a_file_has_no_login(tmp_path):
    assert credentials.read(tmp_path / "none", NAME) == ()


def test_a_password_is_in_no_words_about_a_login():
    assert "hunter2" not in f"{Login(user=NAME, password='hunter2')!r}"


def test_passwords_are_long_and_differ():
    made = {credentials.new_password() for _ in range(100)}
    assert len(made) == 100 and min(map(len, made)) >= 43


def test_the_file_of_another_user_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read it")
    file = tmp_path / FILE.name
    file.touch(mode=0)
    with pytest.raises(Exception, match="cannot be read"):
        credentials.read(file, NAME)
