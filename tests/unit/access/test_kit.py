from __future__ import annotations

import re

import pytest

from pushmirror.access import kit
from pushmirror.access import kit as authorized_keys
from pushmirror.access.credentials import Login
from pushmirror.config import loader
from pushmirror.config.model import Config
from pushmirror.errors import UsageError
from pushmirror.system import process

PASSWORD = "pass"
KEY = "ssh-ed25519 AAAAC3Nz hub.example.org"
SITE = "site1.example.com"
DEBIAN = {"name": "debian", "path": "/srv/debian"}
TUNNEL = {"RSYNC_SSL_METHOD": "stunnel", "RSYNC_SSL_CAPATH": "$'/etc/ssl/certs\\nTIMEOUTclose = 0'"}
TLS = {"certificate": "/c", "certificate_key": "/k"}


def config(*, archives=None, serve=None, push=None, site_push="staged", **site):
    found = {one["name"]: one for one in archives or [DEBIAN]}
    table = {"name": SITE, "host": SITE, "user": "archvsync", "archives": [*found], "push": site_push, **site}
    serve = {"host": "hub.example.org", **(serve or {})}
    return Config.model_validate(
        {"archives": found, "serve": serve, "push": push or {}, "sites": {SITE: table}}
    )


def made(*, login=True, user=SITE, password=PASSWORD, addresses=("192.0.2.7",), public_key=KEY, **keys):
    found = config(**keys)
    known = Login(user=user, password=password) if login else None
    return kit.make(found, found.sites[SITE], known, public_key=public_key, addresses=addresses)


def shell_sees(text, tmp_path):
    """The variables of a file as a shell reads it."""
    (tmp_path / "conf").write_text(text)
    script = f". {tmp_path}/conf; set"
    lines = process.run(["env", "-i", "bash", "-c", script]).output.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"(RSYNC|MIRROR|TO=)", line))


def test_a_line_restricts_the_key_to_its_command_and_our_addresses():
    line = authorized_keys.line(KEY, "x y", ["192.0.2.7", "2001:db8::/32"])
    assert line == f'restrict,from="192.0.2.7,2001:db8::/32",command="x y" {KEY}'


def test_a_line_for_an_old_sshd_forbids_one_by_one():
    line = authorized_keys.line(KEY, "x", old_ssh=True)
    assert line == f'no-port-forwarding,no-X11-forwarding,no-agent-forwarding,no-pty,command="x" {KEY}'


def test_quotes_in_a_command_stay_in_it():
    assert r'command="a \"b\""' in authorized_keys.line(KEY, 'a "b"')


@pytest.mark.parametrize("key", ["", "ssh-ed25519", f"{KEY}\n{KEY}"])
def test_what_is_no_key_makes_no_line(key):
    with pytest.raises(UsageError, match="expected a public key"):
        authorized_keys.line(key, "x")


@pytest.mark.parametrize(
    ("serve", "url"),
    [
        ({}, "rsync://site1.example.com@hub.example.org/debian"),
        ({"rsync": "[::]:8730"}, "rsync://site1.example.com@hub.example.org:8730/debian"),
        (TLS, "rsyncs://site1.example.com@hub.example.org/debian"),
        ({**TLS, "rsync_tls": "[::]:8731"}, "rsyncs://site1.example.com@hub.example.org:8731/debian"),
        ({"host": "2001:db8::1"}, "rsync://site1.example.com@[2001:db8::1]/debian"),
    ],
)
def test_the_address_of_an_archive(serve, url):
    assert [module.url for module in made(serve=serve).modules] == [url]


def test_after_a_rotation_the_address_has_the_new_user():
    assert made(user=f"{SITE}+2").modules[0].url == f"rsync://{SITE}+2@hub.example.org/debian"


def test_the_main_archive_is_ftpsyncs_own_and_others_have_their_name():
    two = [DEBIAN, {"name": "security", "path": "/srv/security"}]
    found = made(archives=two, main_archive="debian").ftpsync
    assert [one.path.rpartition("/")[2] for one in found] == ["ftpsync.conf", "ftpsync-security.conf"]


def test_a_site_that_calls_an_archive_otherwise_gets_files_with_its_name():
    found = made(archive_names={"debian": "main"})
    assert (
        found.ftpsync[0].path.endswith("/ftpsync-main.conf")
        and "[archives.main]" in found.pushmirror[-1].text
    )
    assert found.next["ftpsync"] == ("ftpsync sync:archive:main",)


@pytest.mark.parametrize("password", ["pass", 'it\'s $HOME "x" `id` \\', "ä#b = c"])
def test_a_shell_reads_from_ftpsyncs_file_what_we_mean(tmp_path, password):
    (snippet,) = made(password=password, trace="trace.example.com").ftpsync
    assert (
        shell_sees(snippet.text + "\nprintf 'RSYNC_X=%s\\n' \"$RSYNC_PASSWORD\"", tmp_path)["RSYNC_X"]
        == password
    )


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        ({}, {}),
        ({"rsync": "[::]:8730"}, {"RSYNC_EXTRA": "--port=8730"}),
        (TLS, {"RSYNC_TRANSPORT": "ssl", **TUNNEL}),
        (
            {**TLS, "rsync_tls": "[::]:8731"},
            {"RSYNC_TRANSPORT": "ssl", "RSYNC_SSL_PORT": "8731", **TUNNEL},
        ),
    ],
)
def test_ftpsync_is_told_how_to_reach_us(tmp_path, serve, said):
    (snippet,) = made(serve=serve, trace="trace.example.com").ftpsync
    assert shell_sees(snippet.text, tmp_path) == {
        "MIRRORNAME": "trace.example.com",
        "TO": "/srv/mirrors/debian/",
        "RSYNC_HOST": "hub.example.org",
        "RSYNC_PATH": "debian",
        "RSYNC_USER": SITE,
        "RSYNC_PASSWORD": "pass",
        **said,
    }


@pytest.mark.parametrize("serve", [{}, TLS, {"rsync": "[::]:8730"}])
def test_pushmirror_reads_its_snippet_as_a_configuration(tmp_path, monkeypatch, serve):
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    two = [{**DEBIAN, "keyring": keyring}, {"name": "deb.x", "path": "/srv/x", "access": "open"}]
    monkeypatch.setenv("HOME", str(tmp_path))
    for snippet in made(archives=two, serve=serve).pushmirror:
        file = tmp_path / snippet.path.removeprefix("~/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=int(snippet.mode, 8))
        file.write_text(snippet.text)
    loaded = loader.load(tmp_path / ".config/pushmirror")
    debian, other = loaded.archives["debian"], loaded.archives["deb.x"]
    assert debian.password_file and debian.password_file.read_text() == "pass\n"
    assert [str(one) for one in debian.keyring] == [keyring]
    assert other.upstream and not other.upstream.user and not other.password_file


def test_an_open_archive_needs_no_password():
    found = made(archives=[{**DEBIAN, "access": "open"}])
    assert found.modules[0].open and "@" not in found.modules[0].url
    assert "RSYNC_USER" not in found.ftpsync[0].text
    assert [one.path for one in found.pushmirror] == ["~/.config/pushmirror/pushmirror.toml"]


def test_what_our_daemon_does_not_offer_is_in_no_file_and_noted():
    found = made(archives=[{**DEBIAN, "access": "none"}])
    assert not found.modules and not found.ftpsync
    assert any("does not offer debian" in note for note in found.notes)


def test_a_site_that_is_not_pushed_gets_no_line_and_is_told():
    found = made(push={}, site_push="none")
    assert found.authorized_keys == {} and "does not push to this site" in kit.render(found)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"login": False}, "has no password: pushmirror site rotate"),
        ({"public_key": None}, "pushmirror init creates it"),
        ({"addresses": ()}, "set addresses in [push]"),
        ({"addresses": ("192.0.2.7",)}, "the addresses of hub.example.org"),
        ({"serve": {"host": "hub"}}, "set host in [serve]"),
    ],
)
def test_what_the_hubs_operator_should_look_at_is_noted(keys, words):
    assert any(words in note for note in made(**keys).notes)


def test_a_hub_that_has_said_everything_gets_no_notes():
    assert made(push={"addresses": ["192.0.2.7"]}).notes == ()


@pytest.mark.parametrize(("wanted", "other"), [("pushmirror", "ftpsync"), ("ftpsync", "pushmirror")])
def test_a_kit_can_be_for_one_of_both(wanted, other):
    text = kit.render(made(), **{other: False})
    assert f"# for {wanted}" in text and f"# for {other}" not in text


@pytest.mark.parametrize(("keyring", "file"), [(["/etc/keys/our.gpg"], "our.gpg"), ([], "debian.gpg")])
def test_a_keyring_that_no_package_brings_is_one_to_ask_for(keyring, file):
    text = made(archives=[{**DEBIAN, "keyring": keyring}]).pushmirror[-1].text
    assert (
        f'\n# keyring = "~/.config/pushmirror/{file}"' in text
        and "get this file from hub.example.org" in text
    )


def test_the_comment_about_the_keyring_can_be_taken_at_its_word(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = made(archives=[{**DEBIAN, "access": "open"}]).pushmirror[-1].text
    (tmp_path / "pushmirror.toml").write_text(text.replace("# keyring", "keyring"))
    [keyring] = loader.load(tmp_path).archives["debian"].keyring
    assert keyring == tmp_path / ".config/pushmirror/debian.gpg"


def test_a_kit_ends_with_what_to_do_next():
    two = [DEBIAN, {"name": "security", "path": "/srv/security"}]
    text = kit.render(made(archives=two, main_archive="debian"))
    end = text[text.index("\nThen") :]
    assert all(f"\n  {step}\n" in end for step in ("pushmirror check", "pushmirror sync", "ftpsync"))
    assert "\n  ftpsync sync:archive:security\n" in end


def test_the_next_steps_are_those_of_what_the_site_runs():
    assert "ftpsync" not in kit.render(made(), ftpsync=False).partition("\nThen")[2]
    assert "pushmirror" not in kit.render(made(), pushmirror=False).partition("\nThen")[2]


def test_each_line_says_that_its_program_may_be_elsewhere():
    assert "/usr/local/bin/pushmirror, or its path on your machine" in kit.render(made())
    assert "~/bin/ftpsync" in kit.render(made())


def test_a_password_is_in_no_words_about_a_kit():
    assert "hunter2" not in repr(made(password="hunter2"))
