from __future__ import annotations

import socket

import pytest

from pushmirror.access import daemon_files, site_files
from pushmirror.checks import hub as access
from pushmirror.config import loader
from pushmirror.lab.services import Sshd, new_key
from pushmirror.status.words import Level
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon

CONFIG = """\
[archives.debian]
path = "{0}/tree"
[archives.private]
path = "{0}/private"
access = "none"
[push]
key = "{0}/key"
addresses = ["192.0.2.1"]
[serve]
rsync = "127.0.0.1:{1}"
[state]
directory = "{0}/state"
"""
KEYS = {"host": "h", "user": "u", "archives": ["debian"]}


@pytest.fixture
def hub(tmp_path):
    """A hub with the site a.example, and nothing that listens."""
    with socket.socket() as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        (tmp_path / "pushmirror.toml").write_text(CONFIG.format(tmp_path, taken.getsockname()[1]))
        new_key(tmp_path / "key")
        site_files.add(loader.load(tmp_path), "a.example", KEYS)
        yield tmp_path


def found(hub) -> dict[str, access.Finding]:
    return {one.subject: one for one in access.of_hub(loader.load(hub))}


def test_a_hub_whose_daemon_does_not_run_is_told_only_that(hub):
    assert {one.subject for one in found(hub).values() if one.level is not Level.OK} == {"rsync daemon"}


def test_a_daemon_that_does_not_run_is_an_error_for_no_site_can_read(hub):
    assert found(hub)["rsync daemon"].level is Level.ERROR


def test_without_sites_there_is_nothing_to_look_at(hub):
    site_files.remove(loader.load(hub), "a.example")
    assert found(hub) == {}


def answering_at(hub, port: int) -> access.Finding:
    config = loader.load(hub)
    serve = config.serve.model_copy(update={"rsync": f"127.0.0.1:{port}"})
    return access.answering(config.model_copy(update={"serve": serve}))


def test_a_running_daemon_is_seen(hub, tmp_path_factory):
    with RsyncDaemon(tmp_path_factory.mktemp("daemon")) as running:
        assert answering_at(hub, running.port).level is Level.OK


def test_something_else_at_the_port_of_the_daemon_is_an_error(hub, tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("sshd")) as other:
        told = answering_at(hub, other.port)
    assert told.level is Level.ERROR and "is not an rsync daemon" in told.found


def test_something_that_says_nothing_at_the_port_of_the_daemon_is_no_daemon(hub, monkeypatch):
    monkeypatch.setattr(access, "_LIMIT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "nothing answers" in answering_at(hub, silent.getsockname()[1]).found


def test_a_missing_key_comes_with_the_command_that_makes_it(hub):
    (hub / "key").unlink()
    told = found(hub)["push key"]
    assert (told.level, told.found) == (Level.ERROR, f"{hub}/key is missing")
    assert told.todo == f"ssh-keygen -t ed25519 -N '' -f {hub}/key"


def test_a_key_that_others_can_read_is_an_error(hub):
    (hub / "key").chmod(0o644)
    assert found(hub)["push key"].todo == f"chmod 600 {hub}/key"


def test_a_key_without_its_public_half_cannot_be_given_to_sites(hub):
    (hub / "key.pub").unlink()
    told = found(hub)["push key"]
    assert told.level is Level.WARNING and told.todo == f"ssh-keygen -y -f {hub}/key > {hub}/key.pub"


def test_a_public_half_of_another_key_would_be_given_to_sites_in_vain(hub):
    new_key(hub / "other")
    (hub / "other.pub").rename(hub / "key.pub")
    told = found(hub)["push key"]
    assert told.level is Level.ERROR and "is not the public key" in told.found


def test_a_key_with_a_passphrase_cannot_be_used(hub):
    argv = ["ssh-keygen", "-q", "-p", "-N", "hunter2", "-f", str(hub / "key")]
    process.run(argv, timeout_s=60).check()
    told = found(hub)["push key"]
    assert told.level is Level.ERROR and "passphrase" in told.todo


def test_a_file_that_is_no_key_cannot_be_used(hub):
    (hub / "key").write_text("nonsense")
    assert found(hub)["push key"].level is Level.ERROR


def test_a_site_with_a_key_of_its_own_has_that_looked_at_too(hub):
    site_files.add(loader.load(hub), "b.example", {**KEYS, "host": "b", "key": str(hub / "special")})
    assert found(hub)["push key special"].level is Level.ERROR


def test_pinned_host_keys_that_others_can_write_are_an_error(hub):
    config = loader.load(hub)
    config.known_hosts.write_text("x\n")
    config.known_hosts.chmod(0o666)
    assert found(hub)["known hosts"].level is Level.ERROR


def test_a_site_without_a_password_is_named(hub):
    daemon_files.secret_file(loader.load(hub), "a.example").unlink()
    told = found(hub)["site passwords"]
    assert told.level is Level.ERROR and "a.example" in told.found and "site rotate" in told.todo


def test_a_password_file_that_others_can_read_is_an_error(hub):
    site_files.add(loader.load(hub), "b.example", {**KEYS, "host": "b"})
    daemon_files.secret_file(loader.load(hub), "a.example").chmod(0o644)
    told = found(hub)["password of a.example"]
    assert told.level is Level.ERROR and "cannot log in" in told.found and told.todo.startswith("chmod 600 ")
    assert "site passwords" not in found(hub)


def test_files_of_the_daemon_that_were_never_written_are_a_warning(hub):
    daemon_files.places(loader.load(hub)).conf.unlink()
    assert ": missing" in found(hub)["rsync access"].found


def test_files_of_the_daemon_that_are_older_than_the_configuration_are_a_warning(hub):
    assert found(hub)["rsync access"].level is Level.OK
    text = (hub / "pushmirror.toml").read_text()
    (hub / "pushmirror.toml").write_text(text.replace("[serve]", "[serve]\nmax_connections = 7"))
    assert "older than the configuration" in found(hub)["rsync access"].found


def test_secrets_that_others_can_read_are_an_error(hub):
    daemon_files.places(loader.load(hub)).secrets.chmod(0o644)
    assert found(hub)["rsync access"].level is Level.ERROR


def test_an_archive_that_sites_are_woken_for_but_cannot_read_is_named(hub):
    site_files.add(loader.load(hub), "b.example", {**KEYS, "host": "b", "archives": ["private"]})
    assert "b.example" in found(hub)["access to private"].found


def test_sites_are_counted_by_their_kind(hub):
    site_files.add(loader.load(hub), "b.example", {**KEYS, "host": "b", "push": "none", "paused": True})
    assert found(hub)["sites"].found == "1 staged, 1 not pushed, paused: b.example"
