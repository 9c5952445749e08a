"""Sites with options of their own, which are woken by the program ssh."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.config.model import Site
from pushmirror.errors import HostKeyChanged, TriggerFailed
from pushmirror.lab.services import free_port, wait_until
from pushmirror.push.ssh import known_hosts
from pushmirror.push.ssh.client import SshSender
from pushmirror.push.trigger_sender import MAX_OUTPUT, Answer
from pushmirror.system.process import BASE_ENVIRONMENT
from ssh_sites import FOREVER, Sites

WORDS = " sync:archive:debian sync:stage1"
OPTIONS = ("-F", "none", "-o", "LogLevel=ERROR")  # as ~/.ssh/config of whoever runs the tests says nothing


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    sites = Sites(tmp_path)
    with sites.sshd:
        yield sites


def answer(sites: Sites, site: Site, **options: int) -> Answer:
    return sites.run(lambda transport: transport.trigger(site, WORDS), **options)


def test_a_site_with_options_is_told_the_words_as_they_are(sites: Sites) -> None:
    site = sites.site('echo "<$SSH_ORIGINAL_COMMAND>"; tty; wc -c; exit 3', ssh_options=OPTIONS)
    assert answer(sites, site) == Answer(3, f"<{WORDS}>\nnot a tty\n0\n")


def test_words_cannot_become_options_of_ssh(sites: Sites, tmp_path: Path) -> None:
    site = sites.site('echo "$SSH_ORIGINAL_COMMAND"', ssh_options=OPTIONS)
    words = f"-oProxyCommand=touch {tmp_path}/harm"
    assert sites.run(lambda transport: transport.trigger(site, words)).output == f"{words}\n"
    assert not (tmp_path / "harm").exists()


def test_the_operators_options_win(sites: Sites) -> None:
    options = (*OPTIONS, "-p", str(sites.sshd.port), "-o", "SetEnv=LC_TEST=x")
    assert answer(sites, sites.site(port=free_port(), ssh_options=options)).exit_code == 0


def test_its_output_is_drained_and_bounded(sites: Sites) -> None:
    site = sites.site("head -c 10000000 /dev/zero; echo; echo the end", ssh_options=OPTIONS)
    said = answer(sites, site).output
    assert len(said) == MAX_OUTPUT and said.endswith("\nthe end\n")


def test_what_ssh_says_of_its_failure_is_told(sites: Sites) -> None:
    site = sites.site(port=free_port(), ssh_options=OPTIONS)
    with pytest.raises(TriggerFailed, match=rf"127.0.0.1:{site.port}\): ssh failed: .*Connection refused$"):
        answer(sites, site)


def test_ssh_and_we_share_the_pinned_host_keys(sites: Sites) -> None:
    answer(sites, sites.site(ssh_options=OPTIONS))
    pins = known_hosts.pinned(sites.known_hosts, "127.0.0.1", sites.sshd.port)
    assert answer(sites, sites.site(name="site2")).exit_code == 0 and len(pins.trusted) == 1


def test_a_host_key_that_is_not_the_pinned_one_is_refused(sites: Sites, tmp_path: Path) -> None:
    site = sites.site(f"touch {tmp_path}/woken", ssh_options=OPTIONS)
    sites.known_hosts.parent.mkdir()
    other = (sites.directory / "site1.key.pub").read_text()
    sites.known_hosts.write_text(f"[127.0.0.1]:{site.port} {other}")
    with pytest.raises(HostKeyChanged, match=rf"SHA256:\S+, another one than in {sites.known_hosts}:1;"):
        answer(sites, site)
    assert not (tmp_path / "woken").exists()


def programs() -> set[int]:
    """The processes that we started and that have not ended."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_a_site_that_takes_too_long_leaves_no_program_behind(sites: Sites) -> None:
    before = programs()
    with pytest.raises(TriggerFailed, match="did not finish its run within 2 s"):
        answer(sites, sites.site(FOREVER, ssh_options=OPTIONS), timeout=2)
    assert programs() == before


def test_a_cancelled_trigger_leaves_no_program_behind(sites: Sites, tmp_path: Path) -> None:
    begun, before = tmp_path / "begun", programs()
    site = sites.site(f"touch {begun}; {FOREVER}", ssh_options=OPTIONS)

    async def cancelled(transport: SshSender) -> None:
        task = asyncio.create_task(transport.trigger(site, WORDS))
        assert await asyncio.to_thread(wait_until, begun.exists)
        assert programs() > before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    sites.run(cancelled)
    assert programs() == before


def test_without_the_program_the_site_is_named(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    site = sites.site(ssh_options=OPTIONS)
    monkeypatch.setitem(BASE_ENVIRONMENT, "PATH", "/nonexistent")
    with pytest.raises(TriggerFailed, match=r"site site1 .* the program ssh was not found"):
        answer(sites, site)
