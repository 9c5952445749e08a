from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.access import daemon_files, site_files
from pushmirror.config import loader
from pushmirror.errors import ConfigError, PushmirrorError, StateError, UsageError

A = "a.example.org"
KEYS = {"host": A, "user": "mirror", "archives": ["debian"]}


@pytest.fixture
def etc(tmp_path):
    directory = tmp_path / "etc"
    directory.mkdir()
    (directory / loader.FILE_NAME).write_text(
        f'[archives.debian]\npath = "{tmp_path}/debian"\n[archives.security]\npath = "{tmp_path}/security"\n'
        f'[state]\ndirectory = "{tmp_path}/state"\n'
    )
    return directory


@pytest.fixture
def config(etc):
    return loader.load(etc)


def files(directory):
    """Every file below, with its content."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def secrets(config):
    return daemon_files.places(config).secrets.read_text()


def users(config):
    return [line.partition(":")[0] for line in secrets(config).splitlines()]


def test_a_site_that_was_added_is_in_the_configuration_and_may_log_in(config, etc):
    site, login = site_files.add(config, A, KEYS)
    assert loader.load(etc).sites[A] == site
    assert f"{A}:{login.password}\n" == secrets(config)
    assert f"auth users = {A}\n" in daemon_files.places(config).conf.read_text()


def test_a_link_in_the_state_directory_does_not_choose_where_passwords_go(config, tmp_path):
    config.state.directory.mkdir(parents=True)
    place, elsewhere = daemon_files.places(config).directory, tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)
    for act in (daemon_files.write, daemon_files.update):  # it may take the directory's place at any moment
        with pytest.raises(StateError, match="is a link or a file"):
            act(config)
    assert not list(elsewhere.iterdir())


def test_the_file_of_a_site_says_what_was_asked_and_no_more(config, etc):
    site_files.add(config, A, KEYS)
    text = (etc / f"sites.d/{A}.toml").read_text()
    assert text.partition("\n")[2] == f'host = "{A}"\nuser = "mirror"\narchives = ["debian"]\n'


def test_a_file_that_cannot_be_changed_in_its_form_is_named(config, etc):
    site_files.add(config, A, KEYS)
    file = etc / f"sites.d/{A}.toml"
    file.write_bytes(file.read_bytes() + b"\n\rport = 22\n")  # a line break to who reads it as text
    with pytest.raises(ConfigError, match=f"{A}.toml: cannot be changed"):
        site_files.pause(loader.load(etc), A)


def test_its_passwords_are_for_its_owner_only(config, etc):
    site_files.add(config, A, KEYS)
    assert (etc / f"sites.d/{A}.secret").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("b", {"archives": ["debain"]}, "did you mean debian"),
        ("b", {"archives": []}, "at least one entry"),
        ("b", {"archives": ["debian"] * 2}, "expected each archive once"),
        ("b", {"host": "a b"}, "expected a host name"),
        ("b", {"main_archive": "security"}, "expected one of its archives"),
        ("b", {"archive_names": {"debain": "x"}}, "expected one of its archives"),
        ("b", {"nosuchkey": 1}, "unknown key"),
        ("../b", {}, "expected letters, digits"),
        ("b+2", {}, "expected letters, digits"),
        ("b", {"host": A}, "duplicate site"),
        (A, {"host": "b"}, "already"),
        (A.upper(), {"host": "b"}, "differs in more than case"),
    ],
)
def test_a_site_that_cannot_be_leaves_nothing_behind(config, tmp_path, name, change, what):
    site_files.add(config, A, KEYS)
    before = files(tmp_path)
    with pytest.raises(UsageError, match=what):
        site_files.add(config, name, {**KEYS, "host": "b.example.org", **change})
    assert files(tmp_path) == before


def test_an_error_names_the_site_and_not_a_file_that_is_not_there(config):
    with pytest.raises(UsageError) as caught:
        site_files.add(config, A, {**KEYS, "archives": ["debain"]})
    assert str(caught.value).startswith(f"site {A}: archives: ") and "sites.d" not in str(caught.value)


def test_a_site_whose_daemon_files_cannot_be_written_is_not_added(config, etc, tmp_path, monkeypatch):
    site_files.add(config, A, KEYS)
    before = files(tmp_path)
    real, calls = daemon_files._write, []

    def full(given, path, text, mode):
        calls.append(path)
        if len(calls) == 2:
            raise PushmirrorError("no space left on device")
        return real(given, path, text, mode)

    monkeypatch.setattr(daemon_files, "_write", full)
    with pytest.raises(PushmirrorError, match="no space left"):
        site_files.add(config, "b", {**KEYS, "host": "b.example.org"})
    assert files(tmp_path) == before


def test_what_an_add_that_was_killed_left_behind_does_not_matter(config, etc):
    (etc / "sites.d").mkdir()
    orphan = etc / f"sites.d/{A}.secret"
    orphan.touch(mode=0o600)
    orphan.write_text("half")
    _, login = site_files.add(config, A, KEYS)
    assert f"{A}:{login.password}\n" == secrets(config)


def test_a_site_that_was_removed_leaves_no_file_and_cannot_log_in(config, etc):
    site_files.add(config, A, KEYS)
    site_files.remove(config, A)
    assert list((etc / "sites.d").iterdir()) == [] and secrets(config) == ""
    assert "auth users = *:deny\n" in daemon_files.places(config).conf.read_text()


@pytest.mark.parametrize("act", [site_files.remove, site_files.pause, site_files.resume, site_files.rotate])
def test_a_site_that_is_not_there_is_refused_with_the_one_that_was_meant(config, act):
    site_files.add(config, A, KEYS)
    with pytest.raises(UsageError, match=r"no site 'a\.exmple\.org'.*did you mean a\.example\.org"):
        act(config, "a.exmple.org")


def test_a_rotation_gives_a_new_user_beside_the_old_one(config):
    site_files.add(config, A, KEYS)
    login = site_files.rotate(config, A)
    assert login.user == f"{A}+2" and users(config) == [A, f"{A}+2"]
    assert f"auth users = {A} {A}+2\n" in daemon_files.places(config).conf.read_text()


def test_a_rotation_without_grace_ends_the_old_password_at_once(config):
    site_files.add(config, A, KEYS)
    site_files.rotate(config, A, grace=timedelta())
    assert users(config) == [f"{A}+2"]


def test_the_grace_is_the_configured_one(config, etc):
    with (etc / loader.FILE_NAME).open("a") as file:
        file.write('[serve]\npassword_grace = "1d"\n')
    site_files.add(config, A, KEYS)
    site_files.rotate(config, A)
    old = daemon_files.logins(loader.load(etc))[A][0]
    assert old.until and timedelta(hours=23) < old.until - datetime.now(UTC) <= timedelta(days=1)


def test_what_is_over_leaves_the_daemons_files_when_they_are_made_anew(config, etc):
    site_files.add(config, A, KEYS)
    site_files.rotate(config, A, grace=timedelta(days=1))
    with daemon_files.changing(config):
        assert daemon_files.write(loader.load(etc), now=datetime.now(UTC) + timedelta(days=1))
    assert users(config) == [f"{A}+2"]


def test_a_rotation_keeps_what_was_written_by_hand(config, etc):
    site_files.add(config, A, KEYS)
    file = etc / f"sites.d/{A}.secret"
    file.write_text(f"{file.read_text()}# told by telephone\n")
    site_files.rotate(config, A)
    assert "# told by telephone" in file.read_text()


def test_a_site_written_by_hand_gets_its_first_password_by_a_rotation(config, etc):
    (etc / "sites.d").mkdir()
    (etc / f"sites.d/{A}.toml").write_text(f'host = "{A}"\nuser = "m"\narchives = ["debian"]\n')
    assert site_files.rotate(config, A).user == A and users(config) == [A]


BY_HAND = """\
# our oldest mirror
host = "a.example.org"   # moved in 2024
user = "mirror"

archives = [
    "debian",  # all of it
]
port = 2222\
"""


@pytest.mark.parametrize("text", [BY_HAND, f"{BY_HAND}\n", f"{BY_HAND}\npaused = false  # for now\n"])
def test_pausing_keeps_what_was_written_by_hand(config, etc, text):
    (etc / "sites.d").mkdir()
    file = etc / f"sites.d/{A}.toml"
    file.write_text(text)
    file.chmod(0o640)
    assert site_files.pause(config, A) and loader.load(etc).sites[A].paused
    for line in BY_HAND.splitlines():
        assert line in file.read_text().splitlines()
    assert ("# for now" in text) == ("# for now" in file.read_text())
    assert file.stat().st_mode & 0o777 == 0o640
    assert site_files.resume(config, A) and not loader.load(etc).sites[A].paused


def test_a_site_that_is_paused_already_stays_untouched(config, etc):
    site_files.add(config, A, KEYS)
    site_files.pause(config, A)
    file = etc / f"sites.d/{A}.toml"
    before = file.stat().st_ino
    assert not site_files.pause(config, A) and file.stat().st_ino == before


def test_a_file_kept_elsewhere_and_linked_stays_linked(config, etc, tmp_path):
    (etc / "sites.d").mkdir()
    real = tmp_path / "real.toml"
    real.write_text(f"{BY_HAND}\n")
    (etc / f"sites.d/{A}.toml").symlink_to(real)
    site_files.pause(config, A)
    assert (etc / f"sites.d/{A}.toml").is_symlink() and "paused = true" in real.read_text()


def test_a_broken_configuration_changes_nothing(config, etc, tmp_path):
    site_files.add(config, A, KEYS)
    (etc / "sites.d/b.toml").write_text("host = 1\n")
    before = files(tmp_path)
    for act in (site_files.remove, site_files.pause, site_files.rotate):
        with pytest.raises(ConfigError, match=r"b\.toml: host"):
            act(config, A)
    assert files(tmp_path) == before


BREAK = {
    "others can read it": lambda file: file.chmod(0o644),
    "expected sections": lambda file: file.write_text("login = 1\n"),
    "not valid TOML": lambda file: file.write_text("[[login"),
    "cannot read": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize(("why", "harm"), BREAK.items())
def test_a_site_whose_passwords_cannot_be_used_is_kept_out_and_no_other(config, etc, caplog, why, harm):
    site_files.add(config, A, KEYS)
    site_files.add(config, "b", {**KEYS, "host": "b"})
    harm(etc / f"sites.d/{A}.secret")
    assert daemon_files.update(config) and users(config) == ["b"]
    assert "auth users = b\n" in daemon_files.places(config).conf.read_text()
    assert why in str(daemon_files.unusable(loader.load(etc))[A])
    assert [A in line and why in line for line in caplog.messages] == [True]


def test_a_site_whose_passwords_are_mended_gets_in_again(config, etc):
    site_files.add(config, A, KEYS)
    for mode, allowed in ((0o644, []), (0o600, [A])):
        (etc / f"sites.d/{A}.secret").chmod(mode)
        daemon_files.update(config)
        assert users(config) == allowed


@pytest.mark.parametrize(
    "act",
    [
        lambda config: site_files.remove(config, A),
        lambda config: site_files.rotate(config, A, grace=timedelta()),
    ],
)
@pytest.mark.parametrize(("why", "harm"), BREAK.items())
def test_another_sites_broken_passwords_keep_no_password_alive(config, etc, why, harm, act):
    old = site_files.add(config, A, KEYS)[1].password
    site_files.add(config, "b", {**KEYS, "host": "b"})
    harm(etc / "sites.d/b.secret")
    act(config)
    assert old not in secrets(config)


@pytest.mark.parametrize(
    "mistake", ['[archives.global]\npath = "/x"\n', '[serve]\nrsync = "[::]:0"\n'], ids=["module", "port"]
)
def test_a_site_that_is_removed_is_kept_out_also_when_the_rest_cannot_be_written(config, etc, mistake):
    site_files.add(config, A, KEYS)
    with (etc / loader.FILE_NAME).open("a") as file:
        file.write(mistake)
    with pytest.raises(ConfigError):
        site_files.remove(config, A)
    assert secrets(config) == "" and A not in loader.load(etc).sites


def test_a_link_in_place_of_the_manifests_is_refused_after_who_left_was_kept_out(config, tmp_path):
    site_files.add(config, A, KEYS)
    precious, manifests = tmp_path / "precious", tmp_path / "state/manifests"
    precious.mkdir(mode=0o700)
    manifests.rename(tmp_path / "manifests")
    manifests.symlink_to(precious)
    with pytest.raises(StateError, match="is a link or a file"):
        site_files.remove(config, A)
    assert precious.stat().st_mode & 0o777 == 0o700 and secrets(config) == ""


def test_many_at_once_do_not_lose_each_others_sites(config, etc):
    def add(number):
        site_files.add(config, f"s{number}", {**KEYS, "host": f"s{number}.example.org"})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert users(config) == [f"s{number}" for number in range(8)]


def test_files_that_say_it_already_are_not_written_again(config):
    site_files.add(config, A, KEYS)
    before = daemon_files.places(config).conf.stat().st_ino
    assert not daemon_files.update(config) and daemon_files.places(config).conf.stat().st_ino == before


def test_an_update_takes_the_configuration_from_the_disk_not_an_old_one(config):
    site_files.add(config, A, KEYS)
    assert not daemon_files.update(config)  # this one is from before the site
    assert users(config) == [A]


@pytest.mark.parametrize("act", [lambda config: site_files.add(config, "b", KEYS), daemon_files.update])
def test_who_holds_the_lock_for_too_long_is_named(config, monkeypatch, act):
    monkeypatch.setattr(daemon_files, "_PATIENCE_S", 0.1)
    with (
        daemon_files.changing(config),
        pytest.raises(PushmirrorError, match=r"rsyncd is locked by process \d+"),
    ):
        act(config)


def test_a_directory_that_cannot_be_made_is_named(config, tmp_path):
    (tmp_path / "state").touch()
    with pytest.raises(PushmirrorError, match="cannot write the rsync daemon's files in"):
        daemon_files.update(config)
