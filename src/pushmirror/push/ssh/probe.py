"""Probe a site without a push, for `check --site`: how far the connection gets.

Guaranteed: nothing is pinned; nothing is run at the site unless words are given, as any session on a trigger
key runs the site's command. Not the business of this module: which words are harmless.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import asyncssh

from pushmirror.config.model import Push, Site
from pushmirror.errors import HostKeyChanged, TriggerFailed
from pushmirror.push.ssh import known_hosts, openssh
from pushmirror.push.ssh.client import NotOpenedError, no_session, say
from pushmirror.push.ssh.connect import Connector, Endpoint, HostKeyCheck, drop, resolve
from pushmirror.push.ssh.known_hosts import Pins
from pushmirror.push.trigger_sender import Answer


class HostKey(StrEnum):
    """What the host key that a site shows is to us."""

    PINNED = "pinned"
    NEW = "new"  # none is pinned: the first trigger would pin it
    CHANGED = "changed"  # another one is pinned, or it is revoked
    UNKNOWN = "unknown"  # not reached, or ssh_options keep it elsewhere


@dataclass(frozen=True, slots=True)
class Probe:
    """How far one got with a site; what was not reached is empty."""

    addresses: tuple[str, ...] = ()  # that its name resolves to
    host_key: HostKey = HostKey.UNKNOWN
    fingerprint: str = ""  # of the key that it shows: SHA256:…
    is_let_in: bool = False
    answer: Answer | None = None  # to the words
    trouble: TriggerFailed | None = None  # what ended the way; its message names the site, its hint helps


async def probe(site: Site, push: Push, known_hosts_file: Path, words: str | None = None) -> Probe:
    """Resolve, connect, look at the host key, log in and, if given, say the words.

    What goes wrong is in the probe. A site with ssh_options is only connected to when there are words.
    """
    endpoint = Endpoint.of(site, push)
    found = Probe(addresses=await _addresses(endpoint))
    if site.ssh_options:
        return await _by_program(found, site, push, known_hosts_file, words)
    connector = Connector(push, known_hosts_file)
    judge, connection = HostKeyCheck(Pins()), None
    try:
        judge = HostKeyCheck(connector.pinned(endpoint))
        connection = await connector.log_in(endpoint, judge)
        found = replace(found, is_let_in=True)
        if words is not None:
            found = replace(found, answer=await _answer(endpoint, connection, push, words))
    except TriggerFailed as exc:
        found = replace(found, trouble=exc)
    finally:
        if connection:
            await drop(connection)
    return _with_key(found, judge)


async def _answer(to: Endpoint, connection: asyncssh.SSHClientConnection, push: Push, words: str) -> Answer:
    try:
        async with asyncio.timeout(push.timeout.total_seconds()):
            return await say(to, connection, words, push.connect_timeout.total_seconds())
    except NotOpenedError as exc:
        raise no_session(to, exc) from exc
    except TimeoutError as exc:
        raise TriggerFailed(f"{to} did not answer in time") from exc


async def _addresses(to: Endpoint) -> tuple[str, ...]:
    try:
        places = await resolve(to)
    except socket.gaierror:
        return ()  # connecting will say so
    return tuple(dict.fromkeys(str(address[0]) for *_, address in places))


def _with_key(found: Probe, judge: HostKeyCheck) -> Probe:
    if isinstance(found.trouble, HostKeyChanged):
        kind = HostKey.CHANGED
    elif judge.shown is None:
        kind = HostKey.UNKNOWN
    else:
        kind = HostKey.NEW if judge.pins.is_new else HostKey.PINNED
    return replace(found, host_key=kind, fingerprint=judge.shown.get_fingerprint() if judge.shown else "")


async def _by_program(found: Probe, site: Site, push: Push, file: Path, words: str | None) -> Probe:
    """With a copy of the pinned keys, which then holds the one that ssh was shown."""
    if words is None:
        return found
    with tempfile.TemporaryDirectory(prefix="pushmirror-") as directory:
        copy = Path(directory) / "known_hosts"
        if file.exists():
            shutil.copyfile(file, copy)
        before = known_hosts.pinned(copy, site.host, site.port)
        try:
            async with asyncio.timeout(push.timeout.total_seconds()):
                answer = await openssh.trigger(site, push, copy, words)
        except HostKeyChanged as exc:
            return replace(found, host_key=HostKey.CHANGED, trouble=exc)
        except TriggerFailed as exc:
            return replace(found, trouble=exc)
        except TimeoutError:
            return replace(found, trouble=TriggerFailed(f"{Endpoint.of(site, push)} did not answer in time"))
        after = known_hosts.pinned(copy, site.host, site.port)
    kind = HostKey.UNKNOWN if after.is_new else HostKey.NEW if before.is_new else HostKey.PINNED
    fingerprint = after.trusted[0].fingerprint if after.trusted else ""
    return replace(found, host_key=kind, fingerprint=fingerprint, is_let_in=True, answer=answer)
