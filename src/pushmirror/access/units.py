"""The printed service files: systemd units, inetd lines, logrotate configuration. Pure.

Three ways to start the rsync daemon, each as the owner of the daemon's files (see daemon_files.py):

    systemd   one service for all: `pushmirror serve` runs rsync and, with a certificate, stunnel
    socket    systemd listens, and starts an rsync for each connection; TLS is a service of its own
    inetd     the same by inetd; TLS as a service, for any init system

A systemd service gets as few rights as possible. A user other than root gets CAP_SYS_CHROOT, so that rsync
locks each connection into its tree, and CAP_NET_BIND_SERVICE if the port needs it. Everything but the
state, the database and known_hosts is read-only, and only needed system calls are permitted. A service that
runs programs of the operator's choice (hooks of a push, ssh with a site's options) has only limits that no
such program minds.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pushmirror.access.rsyncd_conf import RSYNC_PORT, DaemonPaths, listening
from pushmirror.config.model import Access, Config
from pushmirror.errors import ConfigError

_SQLITE = "sqlite:///"
_CHROOT, _BIND = "CAP_SYS_CHROOT", "CAP_NET_BIND_SERVICE"
#: Root's capabilities: read others' files, end children that are not root, become another user.
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
    """The rights of one service."""

    written: Sequence[Path]  # writable directories
    bind: bool = False  # its port is below 1024
    foreign: str = ""  # the operator's programs that it runs, as text; empty: none

    def render(self, *, root: bool) -> Iterator[str]:
        """The lines for a unit of root or of another user."""
        needed = [*([_BIND] if self.bind else []), _CHROOT]
        if not root:
            yield f"AmbientCapabilities={' '.join(needed)}"
            yield f"CapabilityBoundingSet={' '.join(needed)}"
        elif not self.foreign:
            yield f"CapabilityBoundingSet={' '.join([*_ROOTS, *needed])}"
        yield from _FOR_ALL
        if self.foreign:
            yield f"# {self.foreign} run in this service, so only limits are set that do not restrict them"
            yield "ProtectSystem=yes"
            return
        yield from _FOR_KNOWN_PROGRAMS
        yield f"ReadWritePaths={' '.join(_quoted(path) for path in self.written)}"


def of_serve(config: Config, *, bind: bool) -> Limits:
    """The rights of `pushmirror serve` with this configuration."""
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
    """A value quoted for systemd, where `%` and quotes are special."""
    return shlex.quote(str(path).replace("\\", "\\\\").replace("%", "%%"))


_SYSTEMD = "/etc/systemd/system"
_UNPRIVILEGED = 1024  # the first port without privileges
_STRANGERS = 20  # connections without a module yet


class Kind(StrEnum):
    """The kind of file to print."""

    SYSTEMD = "systemd"
    SOCKET = "socket"
    INETD = "inetd"
    LOGROTATE = "logrotate"


@dataclass(frozen=True, slots=True)
class UnitContext:
    """The values in the files; programs by their full paths."""

    user: str  # the daemon's user
    group: str
    pushmirror: str
    rsync: str
    stunnel: str


def render(kind: Kind, config: Config, places: DaemonPaths, setting: UnitContext) -> str:
    """The files of one kind, each after a comment with its path. Raises ConfigError."""
    match kind:
        case Kind.SYSTEMD:
            return _serve(config, places, setting)
        case Kind.SOCKET:
            return "\n".join(_socket(config, places, setting))
        case Kind.INETD:
            return _inetd(config, places, setting)
        case Kind.LOGROTATE:
            return _logrotate(config, places, setting)


def _serve(config: Config, places: DaemonPaths, setting: UnitContext) -> str:
    source = ["--config", str(config.source)] if config.source else []
    ports = [listening(config.serve.rsync)[1], listening(config.serve.rsync_tls)[1]]
    return _text(
        f"# {_SYSTEMD}/pushmirror.service",
        "# then: systemctl daemon-reload && systemctl enable --now pushmirror.service",
        "[Unit]",
        "Description=pushmirror: rsync access for mirrors, and pushes to them",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        *_as_user(setting, places, of_serve(config, bind=min(ports) < _UNPRIVILEGED)),
        f"ExecStart={_command(setting.pushmirror, *source, 'serve')}",
        "Restart=on-failure",
        "RestartSec=5",
        "KillMode=mixed",
        "LimitNOFILE=65536",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    )


def _socket(config: Config, places: DaemonPaths, setting: UnitContext) -> Iterator[str]:
    host, port = listening(config.serve.rsync)
    offered = [one for one in config.archives.values() if one.access is not Access.NONE]
    at_most = len(offered) * config.serve.max_connections + _STRANGERS
    yield _text(
        f"# {_SYSTEMD}/pushmirror-rsync.socket",
        "# then: systemctl daemon-reload && systemctl enable --now pushmirror-rsync.socket",
        "[Unit]",
        "Description=rsync access for mirrors",
        "",
        "[Socket]",
        f"ListenStream={_address(host, port)}",
        "Accept=yes",
        "KeepAlive=yes",
        f"MaxConnections={at_most}",
        "",
        "[Install]",
        "WantedBy=sockets.target",
    )
    yield _text(
        f"# {_SYSTEMD}/pushmirror-rsync@.service",
        "[Unit]",
        "Description=rsync access for one mirror",
        "CollectMode=inactive-or-failed",
        "",
        "[Service]",
        *_as_user(setting, places, Limits([places.directory])),
        f"ExecStart=-{_command(setting.rsync, '--daemon', f'--config={places.conf}')}",
        "StandardInput=socket",
        "StandardOutput=inherit",
        "StandardError=journal",
    )
    if config.serve.certificate:
        yield _tls(config, places, setting)


def _tls(config: Config, places: DaemonPaths, setting: UnitContext) -> str:
    port = listening(config.serve.rsync_tls)[1]
    return _text(
        f"# {_SYSTEMD}/pushmirror-rsync-tls.service",
        "# then: systemctl enable --now pushmirror-rsync-tls.service",
        "# after each renewal of the certificate: systemctl reload pushmirror-rsync-tls.service",
        "[Unit]",
        "Description=rsync access for mirrors, through TLS",
        "After=network.target",
        "",
        "[Service]",
        *_as_user(setting, places, Limits([places.directory], bind=port < _UNPRIVILEGED)),
        f"ExecStart={_command(setting.stunnel, str(places.stunnel))}",
        "ExecReload=/bin/kill -HUP $MAINPID",  # the certificate; transfers go on
        "Restart=on-failure",
        "RestartSec=5",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    )


def _inetd(config: Config, places: DaemonPaths, setting: UnitContext) -> str:
    if len(str(places.conf).split()) > 1:
        raise ConfigError(f'state.directory: found a space in "{places.conf}", which inetd does not allow')
    host, port = listening(config.serve.rsync)
    name = "rsync" if port == RSYNC_PORT else str(port)
    service = f"[{host}]:{name}" if ":" in host else f"{host}:{name}" if host else name
    families = ["tcp6"] if ":" in host else ["tcp"] if host else ["tcp", "tcp6"]
    tls = [
        f"# TLS, by your init: {setting.stunnel} {places.stunnel}",
        "# and send it a HUP after each renewal of the certificate; running transfers continue",
    ]
    return _text(
        "# /etc/inetd.conf, then send inetd a HUP",
        *(tls if config.serve.certificate else []),
        *(
            f"{service} stream {family} nowait {setting.user} "
            f"{setting.rsync} rsyncd --daemon --config={places.conf}"
            for family in families
        ),
    )


def _logrotate(config: Config, places: DaemonPaths, setting: UnitContext) -> str:
    logs = [f'"{places.log}"', *([f'"{places.tls_log}"'] if config.serve.certificate else [])]
    return _text(
        "# /etc/logrotate.d/pushmirror",
        f"{' '.join(logs)} {{",
        f"    su {setting.user} {setting.group}",
        "    weekly",
        "    rotate 8",
        "    missingok",
        "    notifempty",
        "    compress",
        "    copytruncate",  # a standing daemon keeps the files open
        "}",
    )


def _as_user(setting: UnitContext, places: DaemonPaths, limits: Limits) -> Iterator[str]:
    yield f"# {setting.user}, whose state is in {places.directory.parent}"
    yield f"User={setting.user}"
    yield f"Group={setting.group}"
    yield from limits.render(root=setting.user == "root")


def _address(host: str, port: int) -> str:
    if not host:
        return str(port)  # both families
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _command(*words: str) -> str:
    """A command line quoted for systemd, where `%`, `$` and quotes are special."""
    return shlex.join(word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$") for word in words)


def _text(*lines: str) -> str:
    return "\n".join([*lines, ""])
