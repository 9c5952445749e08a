"""Calling back after a run whose push asked for it, and what a hub makes of such a call."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.config.model import Callback
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.push.callback import call_back, callback_argv, last_call
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon

HUB, KEY = "hub.example.org", "/home/me/.ssh/callback"
PUSH = "sync:archive:debian sync:callback sync:all"
RECORD = """\
#!/bin/sh
{{ for word; do printf '%s\\n' "$word"; done; env | grep PASSWORD; }} >>{file}
echo "$@" >&2
exit {code}
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes an ssh that only writes its words down; the file, which is there once it was called."""
    program, file = tmp_path / "bin/ssh", tmp_path / "words"
    path = f"{program.parent}:{process.BASE_ENVIRONMENT['PATH']}"

    def make(code: int = 0) -> Path:
        program.parent.mkdir(exist_ok=True)
        program.write_text(RECORD.format(file=file, code=code))
        program.chmod(0o755)
        monkeypatch.setitem(process.BASE_ENVIRONMENT, "PATH", path)
        return file

    return make


@pytest.fixture
def site(tmp_path: Path, daemon: RsyncDaemon) -> LabSite:
    upstream = tmp_path / "upstream"
    (upstream / "pool").mkdir(parents=True)
    (upstream / "pool/one").write_text("one")
    daemon.add_module(ARCHIVE, upstream)
    return LabSite(
        tmp_path / "site",
        upstream=daemon.url(ARCHIVE),
        sections={"mirror": {"name": "site.example.org", "running_on": "box.example.org"}},
    )


def push(site: LabSite, words: str) -> process.Result:
    return site.run("receive", env={"SSH_ORIGINAL_COMMAND": words, "RSYNC_PASSWORD": "correct horse"})


def words_of(callback: Callback, hostname: str) -> list[str]:
    return callback_argv(callback, hostname)[1:]


@pytest.mark.skipif(shutil.which("ftpsync") is None, reason="needs Debian's package ftpsync")
def test_the_call_is_word_by_word_that_of_ftpsync(ssh: Callable[..., Path]) -> None:
    file = ssh()
    theirs = 'eval "$(sed -n "/^callback () {/,/^}/p" /usr/bin/ftpsync)"; HOSTNAME=box.example.org'
    argv = ["bash", "-c", f'{theirs}; callback "$@"', "-", "archvsync", HUB, KEY]
    process.run(argv).check()
    assert file.read_text().splitlines() == words_of(Callback(host=HUB, key=KEY), "box.example.org")


def test_who_asked_for_it_is_called_when_the_run_went_well(site: LabSite, ssh: Callable[..., Path]) -> None:
    callback = {"host": HUB, "user": "hub", "key": KEY}
    site.configure(callback=callback)
    file = ssh()
    said = push(site, PUSH).check().output.decode()
    assert f"{HUB} was called back\n" in said and (site.tree / "pool/one").exists()
    assert file.read_text().splitlines() == words_of(Callback.model_validate(callback), "box.example.org")


def test_a_call_that_fails_changes_nothing(site: LabSite, ssh: Callable[..., Path]) -> None:
    site.configure(callback={"host": HUB, "key": KEY})
    file = ssh(255)
    assert f"{HUB} was NOT called back\n" in push(site, PUSH).check().output.decode()
    assert file.exists()


@pytest.mark.parametrize(
    ("words", "hook", "code"), [("sync:all", ["true"], 0), ("sync:callback sync:all", ["false"], 4)]
)
def test_nobody_is_called_unless_asked_or_after_a_run_that_failed(
    site: LabSite, ssh: Callable[..., Path], words: str, hook: list[str], code: int
) -> None:
    site.configure(callback={"host": HUB, "key": KEY}, hooks={"after_publish": hook})
    file = ssh()
    assert push(site, words).exit_code == code
    assert not file.exists()


def test_a_callback_without_anybody_to_call_is_told_of(site: LabSite) -> None:
    said = push(site, PUSH).check().output.decode()
    assert "sync:callback ignored: [archives.debian.callback] is not configured\n" in said


def test_a_call_that_failed_is_in_the_log(ssh: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    ssh(7)
    assert not call_back(Callback(host=HUB, key=KEY), hostname="box")
    assert f"callback to {HUB} failed: ssh ended with exit code 7" in caplog.text


# The other end


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("callback:site1", "recorded callback of site1\n"),
        ("callback:downstream.example.net", "recorded callback of site1\n"),
        ("callback:downstream", "recorded callback of site1\n"),
        ("callback:$(id)", "ignored callback of '$(id)': no site has this name or host\n"),
    ],
)
def test_a_site_that_calls_starts_no_sync_and_is_noted(site: LabSite, word: str, answer: str) -> None:
    (site.etc / "sites.d").mkdir()
    file = site.etc / "sites.d/site1.toml"
    file.write_text('host = "downstream.example.net"\nuser = "me"\narchives = ["debian"]\n')
    assert push(site, word).check().output.decode() == answer
    assert not site.tree.exists()
    assert (last_call(site.state, "site1") is not None) == ("site1" in answer)


def test_the_last_call_of_a_site_is_in_its_log(site: LabSite) -> None:
    (site.etc / "sites.d").mkdir()
    (site.etc / "sites.d/site1.toml").write_text('host = "h"\nuser = "me"\narchives = ["debian"]\n')
    push(site, "callback:site1").check()
    assert b"last callback at 20" in site.run("site", "log", "site1").check().output
