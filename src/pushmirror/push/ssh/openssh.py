"""Triggers by the program ssh, for sites with options that only OpenSSH understands.

Here ~/.ssh/config is read as usual, and the operator's own options win over ours. Host keys are pinned in
the same file as everybody's. Guaranteed: no shell; neither a host nor the words can become an option; the
program is gone when the call is over. Nothing is kept for stage 2.
"""

from __future__ import annotations

import re
from pathlib import Path

from pushmirror.config.model import Push, Site
from pushmirror.errors import HostKeyChanged, ProgramFailed, ProgramMissing, TriggerFailed
from pushmirror.push.ssh.connect import Endpoint, not_let_in, printable
from pushmirror.push.trigger_sender import Answer
from pushmirror.system import async_process

_FAILED = 255  # ssh's own exit code, when it is not the command's
_CHANGED = re.compile(r"HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY DETECTED")
_DENIED = re.compile(r"Permission denied \(")  # with the ways to log in that are left
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_OFFENDING = re.compile(r"^Offending \S+ key in (.+)$", re.MULTILINE)


def ssh_argv(site: Site, push: Push, known_hosts: Path, words: str) -> list[str]:
    """The command line of a trigger; ssh takes the first value of an option, so the operator's are first."""
    port = [] if site.port is None else [f"Port={site.port}"]
    settings = [
        *port,
        f"User={site.user}",
        "BatchMode=yes",
        "ServerAliveInterval=45",
        f"ConnectTimeout={push.connect_timeout.total_seconds():.0f}",
        "PasswordAuthentication=no",
        f"UserKnownHostsFile={_quoted(known_hosts)}",
        "StrictHostKeyChecking=accept-new",
    ]
    ours = [word for setting in settings for word in ("-o", setting)]
    key = str(site.key or push.key)
    return ["ssh", "-n", "-T", *site.ssh_options, *ours, "-i", key, "--", site.host, words]


async def trigger(site: Site, push: Push, known_hosts: Path, words: str) -> Answer:
    """Send a trigger; raises as `TriggerSender.trigger` does."""
    endpoint = Endpoint.of(site, push)
    try:
        known_hosts.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise TriggerFailed(f"{endpoint}: cannot create {known_hosts.parent}: {exc.strerror}") from exc
    try:
        ended = await async_process.run(ssh_argv(site, push, known_hosts, words))
    except (ProgramMissing, ProgramFailed) as exc:
        raise TriggerFailed(f"{endpoint}: {exc}", hint=exc.hint) from exc
    output = ended.output.decode("utf-8", "replace")
    if ended.exit_code < 0:
        raise TriggerFailed(f"{endpoint}: the program ssh was killed by signal {-ended.exit_code}")
    if ended.exit_code == _FAILED:
        raise failure(endpoint, output)
    return Answer(ended.exit_code, output)


def failure(endpoint: Endpoint, output: str) -> TriggerFailed:
    """What the exit code 255 means, by what ssh printed."""
    if _CHANGED.search(output):
        return _changed(endpoint, output)
    lines = [line for line in output.splitlines() if line.strip()]
    last = printable(lines[-1]) if lines else "no error output"
    by_hand = "run it by hand with -v in its ssh_options"
    hint = not_let_in(endpoint) if _DENIED.search(last) else by_hand
    return TriggerFailed(f"{endpoint}: ssh failed: {last}", hint=hint)


def _changed(endpoint: Endpoint, output: str) -> HostKeyChanged:
    shown = _FINGERPRINT.search(output)
    known = _OFFENDING.search(output)
    return HostKeyChanged(
        f"{endpoint} shows the host key {shown[0] if shown else '(which ssh does not name)'}, another one "
        f"than in {printable(known[1]) if known else 'the file of known hosts'}; nothing was sent to it",
        hint="ask the site's operator; if the new key is right, remove the old one's line with ssh-keygen -R",
    )


def _quoted(file: Path) -> str:
    """A file's name as ssh_config(5) wants it: %-tokens and white space have a meaning there."""
    return f'"{str(file).replace("%", "%%")}"'
