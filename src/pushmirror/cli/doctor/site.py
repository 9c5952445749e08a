"""Whether a site can be woken, asked of the site itself, and what the public sees there.

Guaranteed: nothing is pinned, and neither pushmirror nor ftpsync starts anything for the words that are
said (`answer.py` has the one exception); several sites are looked at at once, each within a time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pushmirror.cli.doctor import answer, public_trace
from pushmirror.cli.doctor.finding import Finding, error, ok, warning
from pushmirror.config.model import Config, PushKind, Site
from pushmirror.push.ssh_probe import HostKey, Probe, probe
from pushmirror.system import clock, loop

_LIMIT = timedelta(seconds=60)  # for an answer to words that start nothing
_AT_ONCE = 20


def of_sites(sites: Sequence[Site], config: Config) -> list[Finding]:
    """All findings about these sites, in their order."""

    async def look() -> list[Finding]:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(site: Site) -> list[Finding]:
            async with turns:
                return [*await _woken(site, config), *await asyncio.to_thread(_seen, site, config)]

        return [finding for found in await asyncio.gather(*map(one, sites)) for finding in found]

    return loop.run(look())


async def _woken(site: Site, config: Config) -> list[Finding]:
    if site.push is PushKind.NONE:
        return [ok(f"login at {site.name}", 'not woken: push = "none"')]
    limit = min(_LIMIT, config.push.timeout)
    rules = config.push.model_copy(update={"timeout": limit})
    found = await probe(site, rules, config.known_hosts, answer.WORDS)
    return list(judge(site, found, clock.now()))


def _seen(site: Site, config: Config) -> list[Finding]:
    return list(public_trace.of_site(site, config, clock.now()))


def judge(site: Site, found: Probe, now: datetime) -> Iterator[Finding]:
    """What a probe says of a site, step by step as far as it came."""
    if found.addresses:
        others = [address for address in found.addresses if address != site.host]
        yield ok(f"name of {site.name}", f"{site.host} is {', '.join(others) or 'an address'}")
    if found.host_key is not HostKey.UNKNOWN:
        yield ok(f"port of {site.name}", f"an ssh server answers on port {site.port or 22}")
    if found.host_key is HostKey.PINNED:
        yield ok(f"host key of {site.name}", f"{found.fingerprint}, as pinned")
    elif found.host_key is HostKey.NEW:
        yield _new_key(site, found)
    if found.answer:
        yield from answer.judge(site, found.answer, now)
    elif found.trouble:
        yield _in_trouble(site, found)


def _new_key(site: Site, found: Probe) -> Finding:
    return warning(
        f"host key of {site.name}",
        f"{found.fingerprint}, none is pinned yet: the first push will trust it",
        "compare it with what its operator reads: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    )


def _in_trouble(site: Site, found: Probe) -> Finding:
    todo = (found.trouble.hint if found.trouble else None) or "try it again; if it stays, ask its operator"
    said = str(found.trouble)
    if found.host_key is HostKey.CHANGED:
        return error(f"host key of {site.name}", said, todo)
    if found.is_let_in:
        may_be = "if its forced command names an archive, it may be syncing: see what runs there"
        return warning(f"login at {site.name}", said, f"{may_be}; {todo}")
    if found.host_key is not HostKey.UNKNOWN:
        return error(f"login at {site.name}", said, todo)
    subject = "port" if found.addresses or site.ssh_options else "name"
    return error(f"{subject} of {site.name}", said, todo)
