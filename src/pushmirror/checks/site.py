"""Check that a site can be pushed, by ssh with words that start nothing (WORDS), and its public trace.

`pushmirror receive` answers in one line. ftpsync finds no configuration for an archive of that name and ends,
unless its forced command names an archive: then it syncs, as after any push. Anything else that answers
should not be reachable by a trigger key. Guaranteed: nothing is pinned; several sites are checked at a
time, each within a time limit.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pushmirror.checks import public_trace
from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.config.model import Config, PushKind, Site
from pushmirror.config.types import span
from pushmirror.push.ssh.probe import HostKey, Probe, probe
from pushmirror.push.trigger_sender import Answer
from pushmirror.status.words import cut
from pushmirror.system import clock, signals

_ARCHIVE = ".pushmirror-check"  # no configuration has this name
WORDS = f" sync:archive:{_ARCHIVE} sync:check"

_READY = re.compile(r"^pushmirror (\S{1,40}) ready; archives: ([^\n;]*); time: (\S{1,40})$", re.MULTILINE)
_OLDER = re.compile(rf"there is no archive '{re.escape(_ARCHIVE)}' here")
_FTPSYNC = re.compile(rf"^Can't read config file \S*-{re.escape(_ARCHIVE)}\.conf!", re.MULTILINE)
_IGNORED = re.compile(r"^Unknown option '?sync:check'? ignored", re.MULTILINE)
_NOT_FOUND = (126, 127)  # of a shell: the command cannot be run, or does not exist
_SLACK = timedelta(minutes=5)  # between two clocks


def judge_answer(site: Site, answer: Answer, now: datetime) -> Iterator[Finding]:
    """The findings about a site's answer: its forced command, and its clock if the answer has the time."""
    subject = f"login at {site.name}"
    ready = _READY.search(answer.output)
    if answer.exit_code == 0 and ready:
        yield from _of_ours(site, subject, ready, now)
    elif answer.exit_code == 64 and _OLDER.search(answer.output):
        yield ok(subject, "key accepted; it starts an older pushmirror")
    elif answer.exit_code == 78 and _FTPSYNC.search(answer.output):
        yield ok(subject, "key accepted; it starts ftpsync")
    elif _IGNORED.search(answer.output):
        yield _of_forced_words(subject, answer)
    else:
        yield _of_others(site, subject, answer)


def _of_ours(site: Site, subject: str, ready: re.Match[str], now: datetime) -> Iterator[Finding]:
    names = ready[2].replace(",", " ").split()
    yield ok(subject, f"key accepted; it starts pushmirror {ready[1]}")
    missing = [name for name in map(site.name_of, site.archives) if name and name not in names]
    if missing:
        yield warning(
            f"archives of {site.name}",
            f"it has no archive {', '.join(missing)}; it has {cut(', '.join(names)) or 'none'}",
            "correct `archives`, `archive_names` or `main_archive` in the site's file, or ask its operator",
        )
    try:
        theirs = datetime.fromisoformat(ready[3])
    except ValueError:
        return
    if theirs.tzinfo:
        yield judge_clock(f"clock of {site.name}", theirs, now)


def judge_clock(subject: str, theirs: datetime, now: datetime) -> Finding:
    """The finding about a site's clock."""
    if abs(theirs - now) <= _SLACK:
        return ok(subject, "the same as ours")
    way = "ahead of" if theirs > now else "behind"
    return warning(subject, f"{span(abs(theirs - now))} {way} ours", "one of the two clocks is wrong: set it")


def _of_forced_words(subject: str, answer: Answer) -> Finding:
    """Whether an error is due to words of the site's forced command, which win over ours."""
    found = "key accepted; it starts ftpsync"
    found += "; its forced command names an archive, so this started a sync like a push"
    if answer.exit_code == 0:
        return ok(subject, found)
    said = f"exit code {answer.exit_code}: {last_line(answer.output)}"
    return warning(subject, f"{found}, and it failed; {said}", "check its log, or ask its operator")


def _of_others(site: Site, subject: str, answer: Answer) -> Finding:
    kit = f"`pushmirror site kit {site.name}` prints the line for its authorized_keys"
    if _is_from_a_shell(answer):
        found = "a shell answered: the key is not limited to a forced command, it can run any command there"
        return error(subject, found, f"ask its operator to add command= before the key; {kit}")
    said = f"exit code {answer.exit_code}: {last_line(answer.output) or 'no output'}"
    if answer.exit_code in _NOT_FOUND:
        found = f"key accepted, but its forced command cannot be run; {said}"
        return error(subject, found, f"ask its operator to correct the path after command=; {kit}")
    found = f"key accepted, but the answer is neither from pushmirror nor from ftpsync; {said}"
    return warning(subject, found, f"ask its operator what its forced command runs; {kit}")


def _is_from_a_shell(answer: Answer) -> bool:
    """Whether a shell answered: it looked for a program of the first word's name."""
    named = next((line for line in answer.output.splitlines() if f"sync:archive:{_ARCHIVE}" in line), "")
    return bool(named) and (answer.exit_code in _NOT_FOUND or "not found" in named.lower())


def last_line(output: str) -> str:
    """The last line that is not blank."""
    return cut(next((line.strip() for line in reversed(output.splitlines()) if line.strip()), ""))


_LIMIT = timedelta(seconds=60)  # for an answer to words that start nothing
_AT_ONCE = 20


def of_sites(sites: Sequence[Site], config: Config) -> list[Finding]:
    """The findings about these sites, in order."""

    async def look() -> list[Finding]:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(site: Site) -> list[Finding]:
            async with turns:
                return [*await _woken(site, config), *await asyncio.to_thread(_seen, site, config)]

        return [finding for found in await asyncio.gather(*map(one, sites)) for finding in found]

    return signals.run(look())


async def _woken(site: Site, config: Config) -> list[Finding]:
    if site.push is PushKind.NONE:
        return [ok(f"login at {site.name}", 'not pushed: push = "none"')]
    limit = min(_LIMIT, config.push.timeout)
    rules = config.push.model_copy(update={"timeout": limit})
    found = await probe(site, rules, config.known_hosts, WORDS)
    return list(judge(site, found, clock.now()))


def _seen(site: Site, config: Config) -> list[Finding]:
    return list(public_trace.of_site(site, config, clock.now()))


def judge(site: Site, found: Probe, now: datetime) -> Iterator[Finding]:
    """The findings of a probe, step by step as far as it came."""
    if found.addresses:
        others = [address for address in found.addresses if address != site.host]
        yield ok(f"name of {site.name}", f"{site.host} is {', '.join(others) or 'an address'}")
    if found.host_key is not HostKey.UNKNOWN:
        yield ok(f"port of {site.name}", f"an ssh server answers on port {site.port or 22}")
    if found.host_key is HostKey.PINNED:
        yield ok(f"host key of {site.name}", f"{found.fingerprint}, as stored")
    elif found.host_key is HostKey.NEW:
        yield _new_key(site, found)
    if found.answer:
        yield from judge_answer(site, found.answer, now)
    elif found.trouble:
        yield _in_trouble(site, found)


def _new_key(site: Site, found: Probe) -> Finding:
    return warning(
        f"host key of {site.name}",
        f"{found.fingerprint}, not stored yet: the first push will trust it",
        "compare it with the output at the site of: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    )


def _in_trouble(site: Site, found: Probe) -> Finding:
    todo = (found.trouble.hint if found.trouble else None) or "try again; if it stays, ask its operator"
    said = str(found.trouble)
    if found.host_key is HostKey.CHANGED:
        return error(f"host key of {site.name}", said, todo)
    if found.is_let_in:
        may_be = "if its forced command names an archive, it may be syncing: check what runs there"
        return warning(f"login at {site.name}", said, f"{may_be}; {todo}")
    if found.host_key is not HostKey.UNKNOWN:
        return error(f"login at {site.name}", said, todo)
    subject = "port" if found.addresses or site.ssh_options else "name"
    return error(f"{subject} of {site.name}", said, todo)
