"""What the services of systemd may do, as lines of their units. Pure.

Guaranteed: a user other than root gets CAP_SYS_CHROOT and, where the port needs it, CAP_NET_BIND_SERVICE, and
no more: rsync then locks each connection into its tree. Everything but the directories of the state, the
database and known_hosts is read-only, and only system calls that services need are let through. A service
that runs programs of the operator's choice (hooks of a push, ssh with the options of a site) keeps only
limits that no such program can mind.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushmirror.config.model import Config

_SQLITE = "sqlite:///"
_CHROOT, _BIND = "CAP_SYS_CHROOT", "CAP_NET_BIND_SERVICE"
#: What root keeps: to read what others own, to end children that gave root up, to give it up itself.
_ROOTS = ("CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")
_FOR_ALL = (
    "NoNewPrivileges=yes",
    "UMask=0022",
    "LockPersonality=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictRealtime=yes",
    "SystemCallArchitectures=native",
)
#: For pushmirror, rsync, stunnel, and ssh without options of a site.
_FOR_KNOWN_PROGRAMS = (
    "MemoryDenyWriteExecute=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "ProtectHome=read-only",
    "ProtectSystem=strict",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",  # netlink: our addresses
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallFilter=@system-service chroot",  # rsync needs chroot, which systemd counts among @mount
    "SystemCallErrorNumber=EPERM",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service may do."""

    written: Sequence[Path]  # the directories that it writes to
    bind: bool = False  # it listens on a port below 1024
    foreign: str = ""  # the programs of the operator that it runs, in words; empty: none

    def render(self, *, root: bool) -> Iterator[str]:
        """The lines for a unit of root's or of another user's."""
        needed = [*([_BIND] if self.bind else []), _CHROOT]
        if not root:
            yield f"AmbientCapabilities={' '.join(needed)}"
            yield f"CapabilityBoundingSet={' '.join(needed)}"
        elif not self.foreign:
            yield f"CapabilityBoundingSet={' '.join([*_ROOTS, *needed])}"
        yield from _FOR_ALL
        if self.foreign:
            yield f"# {self.foreign} run in this service, so there are only limits that none of them can mind"
            yield "ProtectSystem=yes"
            return
        yield from _FOR_KNOWN_PROGRAMS
        yield f"ReadWritePaths={' '.join(_quoted(path) for path in self.written)}"


def of_serve(config: Config, *, bind: bool) -> Limits:
    """What `pushmirror serve` may do with this configuration."""
    hooks = any(one.hooks.before_push or one.hooks.after_push for one in config.archives.values())
    ssh = any(site.ssh_options for site in config.sites.values())
    foreign = [*(["hooks"] if hooks else []), *(["programs that ssh_options name"] if ssh else [])]
    return Limits(_written(config), bind=bind, foreign=" and ".join(foreign))


def _written(config: Config) -> list[Path]:
    state, url = config.state.directory, config.state.database_url
    database = [Path(url.removeprefix(_SQLITE)).parent] if url.startswith(_SQLITE) else []
    further = {config.known_hosts.parent, *database}
    return [state, *sorted(path for path in further if not path.is_relative_to(state))]


def _quoted(path: Path) -> str:
    """As systemd reads it: `%` means something there, and a shell's quotes do too."""
    return shlex.quote(str(path).replace("\\", "\\\\").replace("%", "%%"))
