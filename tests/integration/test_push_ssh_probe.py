"""Looking at a site on the way to it, without waking it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.config.model import Site
from pushmirror.lab.services import free_port, new_key
from pushmirror.push.ssh import known_hosts
from pushmirror.push.ssh.probe import HostKey, Probe, probe
from pushmirror.push.trigger_sender import Answer
from ssh_sites import FOREVER, Sites

OPTIONS = ("-F", "none", "-o", "LogLevel=ERROR")


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    sites = Sites(tmp_path)
    with sites.sshd:
        yield sites


def probed(sites: Sites, site: Site, words: str | None = None, **options: int) -> Probe:
    return asyncio.run(probe(site, sites.push(**options), sites.known_hosts, words))


def fingerprint(sites: Sites) -> str:
    pins = known_hosts.pins_of(f"host {sites.sshd.host_key}", "host", 22)
    return pins.trusted[0].fingerprint


@pytest.mark.parametrize("options", [(), OPTIONS])
def test_a_new_site_is_looked_at_and_nothing_is_pinned(sites: Sites, options: tuple[str, ...]) -> None:
    found = probed(sites, sites.site("echo hello", ssh_options=options), "sync:nothing")
    assert found == Probe(
        addresses=("127.0.0.1",),
        host_key=HostKey.NEW,
        fingerprint=fingerprint(sites),
        is_let_in=True,
        answer=Answer(0, "hello\n"),
    )
    assert not sites.known_hosts.exists()


@pytest.mark.parametrize("options", [(), OPTIONS])
def test_a_pinned_host_key_is_known_again(sites: Sites, options: tuple[str, ...]) -> None:
    sites.known_hosts.parent.mkdir()
    sites.known_hosts.write_text(f"[127.0.0.1]:{sites.sshd.port} {sites.sshd.host_key}\n")
    found = probed(sites, sites.site(ssh_options=options), "sync:nothing")
    assert (found.host_key, found.fingerprint) == (HostKey.PINNED, fingerprint(sites))


@pytest.mark.parametrize("options", [(), OPTIONS])
def test_a_changed_host_key_is_trouble(sites: Sites, options: tuple[str, ...]) -> None:
    sites.known_hosts.parent.mkdir()
    other = new_key(sites.directory / "other")
    sites.known_hosts.write_text(f"[127.0.0.1]:{sites.sshd.port} {other}\n")
    found = probed(sites, sites.site(ssh_options=options), "sync:nothing")
    assert (found.host_key, found.is_let_in) == (HostKey.CHANGED, False)
    assert fingerprint(sites) in str(found.trouble)


@pytest.mark.parametrize("options", [(), OPTIONS])
def test_without_words_nothing_is_run(sites: Sites, tmp_path: Path, options: tuple[str, ...]) -> None:
    found = probed(sites, sites.site(f"touch {tmp_path}/woken", ssh_options=options))
    assert found.answer is found.trouble is None and found.is_let_in == (not options)
    assert not (tmp_path / "woken").exists()


def test_a_site_that_does_not_let_us_in_has_shown_its_host_key(sites: Sites) -> None:
    found = probed(sites, sites.site(key=sites.key))
    assert (found.host_key, found.is_let_in) == (HostKey.NEW, False)
    assert "rejected user" in str(found.trouble)


def test_of_a_name_that_cannot_be_resolved_nothing_is_known(sites: Sites) -> None:
    found = probed(sites, sites.site(host="nowhere.invalid"))
    assert "cannot resolve" in str(found.trouble) and found == Probe(trouble=found.trouble)


def test_of_a_site_that_refuses_only_the_address_is_known(sites: Sites) -> None:
    found = probed(sites, sites.site(port=free_port()))
    assert "refused the connection" in str(found.trouble)
    assert found == Probe(addresses=("127.0.0.1",), trouble=found.trouble)


@pytest.mark.parametrize("options", [(), OPTIONS])
def test_a_site_that_does_not_answer_is_trouble_too(sites: Sites, options: tuple[str, ...]) -> None:
    found = probed(sites, sites.site(FOREVER, ssh_options=options), "sync:nothing", timeout=2)
    assert found.answer is None and "did not answer in time" in str(found.trouble)
