from __future__ import annotations

import json
import logging
import os
import pty
import signal
import sys
from datetime import UTC, datetime

import pytest

from pushmirror.access import daemon_files, site_files
from pushmirror.cli import main as cli
from pushmirror.cli.context import Session
from pushmirror.cli.site import site as verb
from pushmirror.config import loader
from pushmirror.errors import Exit, PushmirrorError
from pushmirror.state.records import SiteState

A = "a.example.org"
KEY = "ssh-ed25519 AAAAC3Nz hub"


@pytest.fixture(autouse=True)
def signals_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def etc(tmp_path):
    directory = tmp_path / "etc"
    directory.mkdir()
    (tmp_path / "key.pub").write_text(f"{KEY}\n")
    (directory / loader.FILE_NAME).write_text(
        f'[archives.debian]\npath = "{tmp_path}/debian"\n[archives.security]\npath = "{tmp_path}/security"\n'
        f'[state]\ndirectory = "{tmp_path}/state"\n[serve]\nhost = "hub.example.org"\n'
        f'[push]\nkey = "{tmp_path}/key"\naddresses = ["192.0.2.7"]\n'
    )
    return directory


@pytest.fixture
def call(etc, capsys):
    """Runs `pushmirror site WORDS`: exit code, standard output, standard error."""

    def run(*words):
        capsys.readouterr()
        code = cli.main(["--config", str(etc), "site", *words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def add(call):
    def run(name=A, *words):
        given = () if "--archive" in words else ("--archive", "debian")
        return call("add", name, "--host", name, "--user", "mirror", *given, *words)

    return run


def password(etc, name=A):
    return daemon_files.logins(loader.load(etc))[name][-1].password


def test_add_prints_what_the_sites_operator_needs(add, etc):
    code, out, err = add()
    assert (code, err) == (0, "")
    assert f'restrict,from="192.0.2.7",command="/usr/local/bin/pushmirror receive" {KEY}\n' in out
    assert f"password: {password(etc)}\n" in out and f"RSYNC_PASSWORD={password(etc)}\n" in out


def test_add_makes_the_push_key_that_is_missing(add, etc, tmp_path):
    (tmp_path / "key.pub").unlink()
    code, out, err = add()
    made = (tmp_path / "key.pub").read_text()
    assert code == 0 and made in out and "HUB-PUBLIC-KEY" not in out
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600 and f"created the key {tmp_path}/key" in err


def test_for_a_site_that_is_not_pushed_no_key_is_made(add, tmp_path):
    (tmp_path / "key.pub").unlink()
    assert add(A, "--push", "none")[0] == 0
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize(
    ("name", "todo"),
    [("missing", "ssh-keygen -t ed25519 -N '' -f {}"), ("alone", "ssh-keygen -y -f {} > {}.pub")],
)
def test_a_key_without_its_public_half_adds_no_site(add, etc, tmp_path, name, todo):
    (tmp_path / "alone").touch()
    key = f"{tmp_path}/{name}"
    code, out, err = add(A, "--key", key)
    assert (code, out) == (Exit.FAILED, "") and todo.format(key, key) in err
    assert not (etc / "sites.d").exists()


def test_a_key_is_not_made_for_somebody_else(add, etc, tmp_path, monkeypatch):
    (tmp_path / "key.pub").unlink()
    (tmp_path / "state").mkdir()
    monkeypatch.setattr("pushmirror.cli.site_add.owner_of", lambda _: 1)
    code, _, err = add()
    assert code == Exit.FAILED and "run this as daemon" in err
    assert not (tmp_path / "key").exists() and not (etc / "sites.d").exists()


def test_add_writes_how_the_site_is_woken_though_nobody_said_it(add, etc):
    add()
    assert '\npush = "staged"\n' in (etc / f"sites.d/{A}.toml").read_text()


def test_add_writes_every_key_that_was_given(add, etc, tmp_path):
    (tmp_path / "other.pub").write_text(KEY)
    other = f"{tmp_path}/other"
    code, _, _ = add(
        A,
        *("--push", "mhop", "--archive", "debian", "--archive", "security", "--main-archive", "debian"),
        *("--port", "2222", "--key", other, "--canary", "--url", "https://a/{archive}/"),
        *("--trace", "t", "--ssh-option=-o", "--ssh-option=ProxyJump=j"),
    )
    site = loader.load(etc).sites[A]
    assert code == 0 and site.push.value == "mhop" and site.archives == ("debian", "security")
    assert (site.main_archive, site.port, str(site.key), site.canary) == ("debian", 2222, other, True)
    assert (site.url, site.trace, site.ssh_options) == ("https://a/{archive}/", "t", ("-o", "ProxyJump=j"))


def test_a_hub_with_one_archive_need_not_be_told_which(call, etc, tmp_path):
    text = (
        (etc / loader.FILE_NAME)
        .read_text()
        .replace(f'[archives.security]\npath = "{tmp_path}/security"\n', "")
    )
    (etc / loader.FILE_NAME).write_text(text)
    assert call("add", A, "--host", A, "--user", "m")[0] == 0
    assert loader.load(etc).sites[A].archives == ("debian",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "b", "--host", "b", "--user", "m"), "archives here: debian, security"),
        (("add", "b", "--host", "b", "--user", "m", "--archive", "debain"), "did you mean debian?"),
        (("add", "b", "--host", "b", "--user", "m", "--archive", "debian", "--push", "x"), "Invalid value"),
        (("add", "b", "--host", "b", "--user", "m", "--archive", "debian", "--port", "0"), "at least 1"),
        (("add", "b", "--user", "m", "--archive", "debian"), "Missing option '--host'"),
        (("add", A, "--host", "b", "--user", "m", "--archive", "debian"), "already"),
        (("show", "a.exmple.org"), "did you mean a.example.org?"),
        (("kit", "nosuch"), f"sites there: {A}"),
        (("remove", "nosuch", "--yes"), f"sites there: {A}"),
        (("rotate", A, "--grace", "7"), 'write a unit, such as "36h", found "7"'),
        (("nosuch",), "No such command"),
    ],
)
def test_a_wrong_call_is_named_and_ends_with_the_code_for_usage(add, call, words, said):
    add()
    code, _, err = call(*words)
    assert code == Exit.USAGE and said in err


def test_a_broken_configuration_ends_with_its_own_code(call, etc):
    (etc / "sites.d").mkdir()
    (etc / "sites.d/b.toml").write_text("host = 1\n")
    code, _, err = call("list")
    assert code == Exit.CONFIG and "b.toml: host" in err


def test_the_list_says_who_and_how(add, call):
    add(A, "--canary")
    add("b.example.org", "--push", "none")
    call("pause", A)
    code, out, _ = call("list")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [A, f"mirror@{A}", "staged", "debian", A, "paused,", "canary"] in lines
    assert ["b.example.org", "mirror@b.example.org", "none", "debian", "b.example.org"] in lines


def test_a_site_that_is_kept_out_is_shown_so_with_the_reason(add, call, etc):
    add()
    daemon_files.secret_file(loader.load(etc), A).chmod(0o644)
    assert "no access: see `show`" in call("list")[1]
    assert "no access: " in call("show", A)[1] and "others can read it" in call("show", A, "--json")[1]


@pytest.mark.parametrize(
    "words", [("list",), ("show", A), ("pause", A), ("resume", A), ("remove", A, "--yes")]
)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_what_is_not_for_the_sites_operator_has_no_password_in_it(add, call, etc, words, as_json):
    add()
    secret = password(etc)
    code, out, err = call(*words, *as_json)
    assert code == 0 and secret not in out + err


def test_programs_can_read_everything(add, call):
    made = json.loads(add(A, "--json")[1])
    assert made["user"] == A and made["modules"][0]["url"] == f"rsync://{A}@hub.example.org/debian"
    assert [one["site"]["name"] for one in json.loads(call("list", "--json")[1])] == [A]
    assert json.loads(call("show", A, "--json")[1])["users"] == [
        {"user": A, "until": None, "last_login": None}
    ]
    assert json.loads(call("kit", A, "--json")[1])["password"] == made["password"]
    assert json.loads(call("pause", A, "--json")[1]) == {"site": A, "paused": True, "changed": True}
    assert json.loads(call("rotate", A, "--json")[1])["user"] == f"{A}+2"
    assert json.loads(call("remove", A, "--yes", "--json")[1]) == {"site": A, "removed": True}


def test_a_rotation_tells_the_new_user_and_show_until_when_the_old_one_works(add, call):
    add()
    assert f"user: {A}+2\n" in call("rotate", A, "--grace", "3d")[1]
    out = call("show", A)[1]
    assert f"rsync user: {A} (until " in out and f"rsync user: {A}+2, no login logged\n" in out


def test_a_rotation_prints_only_the_lines_that_change(add, call, etc):
    add(A, "--archive", "debian", "--archive", "security")
    out = call("rotate", A)[1]
    new, user = password(etc), f"{A}+2"
    assert (
        out
        == f"""\
New login of {A} at hub.example.org

  user: {user}
  password: {new}

# for pushmirror: ~/.config/pushmirror/hub.example.org.secret, all of it
{new}

# for pushmirror: ~/.config/pushmirror/pushmirror.toml, these lines
[archives.debian]
upstream = "rsync://{user}@hub.example.org/debian"
[archives.security]
upstream = "rsync://{user}@hub.example.org/security"

# for ftpsync: ~/.config/ftpsync/ftpsync-debian.conf, these lines
RSYNC_USER={user}
RSYNC_PASSWORD={new}

# for ftpsync: ~/.config/ftpsync/ftpsync-security.conf, these lines
RSYNC_USER={user}
RSYNC_PASSWORD={new}
"""
    )


def test_a_first_password_comes_with_the_whole_kit(add, call, etc):
    add()
    (etc / f"sites.d/{A}.secret").unlink()
    assert "authorized_keys" in call("rotate", A)[1]


def test_the_login_that_a_site_came_with_last_is_shown(add, call, tmp_path):
    add()
    call("rotate", A)
    at = f"{datetime.now(UTC).astimezone():%Y/%m/%d %H:%M:%S}"
    log = tmp_path / "state/rsyncd/transfers.log"
    log.write_text(f"{at} [7] rsync on debian/ from {A}@UNDETERMINED (192.0.2.9)\n")
    shown = call("show", A)[1].splitlines()
    assert any(line.startswith(f"rsync user: {A} (until") and "last login" in line for line in shown)
    assert f"rsync user: {A}+2, no login logged" in shown
    assert f"  {A}, " in call("list")[1]
    users = json.loads(call("show", A, "--json")[1])["users"]
    assert [one["last_login"] is not None for one in users] == [True, False]


def test_a_rotation_says_until_when_every_earlier_login_works(add, call):
    add()
    call("rotate", A, "--grace", "3d")
    _, out, err = call("rotate", A, "--grace", "1h")
    first, second = (line for line in err.splitlines() if " is valid until " in line)
    assert f" {A} is valid until" in first and f" {A}+2 is valid until" in second
    assert first.split()[-3:] == second.split()[-3:] and "is valid until" not in out


def test_a_rotation_without_grace_says_that_earlier_logins_are_over(add, call):
    add()
    assert f"{A} is no longer valid" in call("rotate", A, "--grace", "0", "--json")[2]


@pytest.mark.parametrize(("option", "there", "gone"), [("--ftpsync", "RSYNC_HOST", "[archives.debian]")])
def test_a_kit_for_one_of_both(add, call, option, there, gone):
    add()
    out = call("kit", A, option)[1]
    assert there in out and gone not in out


def test_a_kit_for_an_old_sshd(add, call):
    add()
    assert "\nno-port-forwarding,no-X11-forwarding," in call("kit", A, "--old-ssh")[1]


def test_the_kit_of_a_site_without_a_password_says_what_to_do(add, call, etc):
    add()
    (etc / f"sites.d/{A}.secret").unlink()
    code, out, err = call("kit", A)
    assert code == 0 and "password:" not in out and f"pushmirror site rotate {A}" in err


def test_without_configured_addresses_the_line_has_those_of_our_name(add, etc, monkeypatch):
    file = etc / loader.FILE_NAME
    file.write_text(file.read_text().replace('addresses = ["192.0.2.7"]\n', ""))
    found = ["127.0.1.1", "::1", "fe80::1%2", "198.51.100.3", "198.51.100.3", "2001:db8::3"]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (one, 0)) for one in found])
    _, out, err = add()
    assert 'from="198.51.100.3,2001:db8::3"' in out and "the addresses of hub.example.org" in err


def test_a_name_that_does_not_resolve_means_a_line_without_from_and_a_warning(add, etc, monkeypatch):
    file = etc / loader.FILE_NAME
    file.write_text(file.read_text().replace('addresses = ["192.0.2.7"]\n', ""))

    def fail(*_, **__):
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", fail)
    _, out, err = add()
    assert "\nrestrict,command=" in out and "set addresses in [push]" in err


def test_pausing_twice_is_no_error(add, call):
    add()
    assert call("pause", A)[1] == f"{A} is paused now\n"
    assert call("pause", A)[1] == f"{A} is paused already\n"
    assert call("resume", A)[1] == f"{A} is pushed now\n"


def test_removing_forgets_what_the_store_knew(add, call, etc):
    add()
    session = Session(etc)
    with session.store(session.config()) as store:
        store.put_site_states([SiteState("debian", A), SiteState("debian", "b")])
    assert call("remove", A, "--yes")[0] == 0
    with session.store(session.config()) as store:
        assert list(store.site_states("debian")) == ["b"]


def test_a_removed_site_is_forgotten_also_when_the_daemons_files_cannot_follow(add, call, etc, monkeypatch):
    add()
    session = Session(etc)
    with session.store(session.config()) as store:
        store.put_site_states([SiteState("debian", A)])
    monkeypatch.setattr(daemon_files, "write", refuse)
    call("remove", A, "--yes")
    with session.store(session.config()) as store:
        assert (A in loader.load(etc).sites, store.site_states("debian")) == (False, {})


def test_a_removed_site_leaves_no_host_key(add, call, etc):
    add(A)
    (known_hosts := loader.load(etc).known_hosts).write_text(f"{A} {KEY}\nother.example.org {KEY}\n")
    assert call("remove", A, "--yes")[0] == Exit.OK
    assert known_hosts.read_text() == f"other.example.org {KEY}\n"


def test_the_host_key_of_a_removed_site_stays_for_another_site_on_the_host(add, call, etc):
    add(A)
    call("add", "twin", "--host", A, "--user", "other", "--archive", "security")
    (known_hosts := loader.load(etc).known_hosts).write_text(f"{A} {KEY}\n")
    call("remove", A, "--yes")
    assert known_hosts.read_text() == f"{A} {KEY}\n"


def test_a_file_of_host_keys_that_the_operator_names_is_left_alone(add, call, etc, tmp_path):
    (file := tmp_path / "own").write_text(f"{A} {KEY}\n")
    text = (etc / loader.FILE_NAME).read_text()
    (etc / loader.FILE_NAME).write_text(text.replace("[push]", f'[push]\nknown_hosts = "{file}"'))
    add()
    assert call("remove", A, "--yes")[0] == Exit.OK
    assert file.read_text() == f"{A} {KEY}\n"


def test_a_site_that_cannot_be_removed_is_not_forgotten(add, call, etc, monkeypatch):
    add()
    session = Session(etc)
    with session.store(session.config()) as store:
        store.put_site_states([SiteState("debian", A)])
    monkeypatch.setattr(site_files, "remove", lambda config, _: refuse(config))
    assert call("remove", A, "--yes")[0] == Exit.FAILED
    with session.store(session.config()) as store:
        assert list(store.site_states("debian")) == [A]


def test_removing_asks_nobody_in_a_pipe_and_needs_yes(add, call, etc):
    add()
    code, _, err = call("remove", A)
    assert code == Exit.USAGE and "needs --yes" in err
    assert A in loader.load(etc).sites


@pytest.mark.parametrize(("answer", "stays"), [(b"n\n", True), (b"y\n", False)])
def test_removing_asks_on_a_terminal(etc, add, call, answer, stays):
    add()
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    with os.fdopen(theirs) as terminal, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", terminal)
        call("remove", A)
    os.close(ours)
    assert (A in loader.load(etc).sites) is stays


def test_passwords_are_not_logged(add, call, etc, caplog):
    caplog.set_level(logging.DEBUG)
    add()
    call("rotate", A)
    call("kit", A)
    assert password(etc) not in caplog.text


def test_looking_brings_the_daemons_files_up_to_date(add, call, etc):
    add()
    conf = daemon_files.places(loader.load(etc)).conf
    conf.unlink()
    call("list")
    assert A in conf.read_text()


def test_looking_works_also_where_the_daemons_files_cannot_be_written(add, call, monkeypatch):
    add()
    monkeypatch.setattr(daemon_files, "update", refuse)
    code, out, err = call("list")
    assert code == 0 and A in out and "configuration not updated: no right to" in err


def refuse(_config):
    raise PushmirrorError("no right to")


def test_every_command_has_an_example(call):
    for name in verb.commands:
        _, _, examples = call(name, "--help")[1].partition("Example")
        assert f"pushmirror site {name}" in examples
