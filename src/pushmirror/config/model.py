"""The configuration as typed, frozen values. Every default of the project is in this file and nowhere else.

A value of these classes is well-formed on its own; what needs the other values or the disk to judge
(duplicate sites, nested trees, password files) is for `toml.py`. Where files are found is too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    model_validator,
)

from pushmirror.config.hostname import own_name
from pushmirror.config.upstream import Scheme, Upstream, parse_upstream
from pushmirror.config.values import parse_duration, parse_rate


class Strategy(StrEnum):
    """How a sync learns what changed."""

    AUTO = "auto"
    FULL = "full"
    INDEX = "index"
    MANIFEST = "manifest"


class Access(StrEnum):
    """Who may read an archive from our rsync daemon."""

    SITES = "sites"  # each with its user and password
    OPEN = "open"  # everybody
    NONE = "none"  # nobody: the daemon does not have it


class PushKind(StrEnum):
    """How a site is woken."""

    ALL = "all"
    STAGED = "staged"
    MHOP = "mhop"
    NONE = "none"

    @property
    def is_staged(self) -> bool:
        """Whether stage 1 and stage 2 are triggers of their own."""
        return self in {PushKind.STAGED, PushKind.MHOP}


def _absolute(value: Path) -> Path:
    if not str(value).isprintable():
        raise ValueError("expected a path without control characters")
    try:
        path = Path(os.path.normpath(value.expanduser()))
    except RuntimeError as exc:
        raise ValueError("expected an absolute path; there is no such user's home") from exc
    if not path.is_absolute():
        raise ValueError("expected an absolute path")
    return path


def _matching(pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str | Path) else value


def _positive(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("expected a duration of at least one second")
    return value


Text = Annotated[str, _matching(r"[^\x00-\x1f\x7f]*", "text on one line")]
Name = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "letters, digits and . _ - only")]
Host = Annotated[str, _matching(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*", "a host name or address")]
User = Annotated[str, _matching(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*", "a user name")]
Architecture = Annotated[str, _matching(r"[a-z0-9][a-z0-9-]*", "an architecture such as amd64, or source")]
Pattern = Annotated[str, _matching(r"[^\x00-\x1f\x7f]+", "an rsync pattern")]
Word = Annotated[str, _matching(r"[^\x00]+", "a word that is not empty")]
Flag = Annotated[bool, Strict()]  # "yes", "off" and 1 are mistakes
Count = Annotated[int, Strict(), Field(ge=0)]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Share = Annotated[float, Field(gt=0, le=1)]  # of a whole
Peer = Annotated[str, _matching(r"[A-Za-z0-9.:*/_-]+", "a host name or pattern, an address, or a network")]
Option = Annotated[str, _matching(r"[A-Za-z0-9*][A-Za-z0-9*-]*", "the name of an rsync option")]
Url = Annotated[str, _matching(r"https?://[^\s]+", "an address that begins with https:// or http://")]
Listening = Annotated[
    str,
    _matching(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):\d{1,5}", 'an address and a port, such as "[::]:873"'),
]
Duration = Annotated[timedelta, PlainValidator(parse_duration)]
Timeout = Annotated[Duration, AfterValidator(_positive)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


#: Options of rsync that would write into files which are served, or delete them.
_HARMFUL = ("--inplace", "--append", "--delete", "--remove-source-files", "--write-devices")


def _harmless(options: tuple[str, ...]) -> tuple[str, ...]:
    for option in options:
        if option.startswith(_HARMFUL):
            raise ValueError(f"{option} would change files that are served; pushmirror does without it")
    return options


_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")  # of ssh's options, ssh(1)


def _only_options(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that ssh takes for options and their values: any other one would be its host."""
    rest = iter(words)
    for word in rest:
        letters = word[1:]
        if not word.startswith("-") or not letters or letters.startswith("-"):
            raise ValueError(f'"{word}" is no option; expected such as ["-o", "ProxyJump=gate.example.org"]')
        first = next((n for n, letter in enumerate(letters) if letter in _WITH_VALUE), None)
        if first == len(letters) - 1 and next(rest, None) is None:
            raise ValueError(f"expected a value after {word}")
    return words


SshOptions = Annotated[tuple[Word, ...], AfterValidator(_only_options)]


class Values(BaseModel):
    """What every section has in common: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class Mirror(Values):
    """Who we are; goes into the public trace."""

    name: Name = Field(default_factory=own_name)  # file name of the trace
    country: Text | None = None
    location: Text | None = None
    sponsor: Text | None = None
    maintainer: Text | None = None
    throughput: Text | None = None

    @model_validator(mode="after")
    def _not_a_name_with_a_meaning(self) -> Self:
        if self.name == "master":  # project/trace/master is the origin's
            raise ValueError('"master" is the trace of the archive\'s origin; expected a host name')
        return self


class Delete(Values):
    """When removing files stops and asks."""

    max_files: Count = 40_000
    max_share: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.25  # of the files in the tree


class UpdateInProgress(Values):
    """What upstream's Archive-Update-in-Progress flag does to a run."""

    wait: Timeout = timedelta(minutes=20)  # before looking again
    retries: Count = 3
    stale_after: Timeout = timedelta(hours=24)  # an older flag was left behind by a crash


class Hooks(Values):
    """Programs run at certain points of a run, each as an argv list."""

    before_sync: tuple[Word, ...] = ()
    after_stage1: tuple[Word, ...] = ()
    after_publish: tuple[Word, ...] = ()
    before_push: tuple[Word, ...] = ()
    after_push: tuple[Word, ...] = ()
    time_limit: Timeout = timedelta(hours=1)


class Archive(Values):
    """One mirrored tree."""

    name: Name
    path: AbsolutePath
    upstream: Annotated[
        Upstream | None, PlainValidator(lambda v: None if v is None else parse_upstream(v))
    ] = None
    password_file: AbsolutePath | None = None
    ssh_key: AbsolutePath | None = None  # for rsync+ssh
    ssh_options: SshOptions = ()  # the same, as words for ssh
    strategy: Strategy = Strategy.AUTO
    keyring: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_one_or_many)] = ()
    architectures: tuple[Architecture, ...] = ()  # empty: all
    exclude_architectures: tuple[Architecture, ...] = ()
    exclude: tuple[Pattern, ...] = ()  # not mirrored: what of it is here is deleted, as ftpsync does
    protect: tuple[Pattern, ...] = ()  # never deleted
    grace: Duration = timedelta(hours=36)  # how long replaced indices keep their files
    full_every: Timeout = timedelta(hours=24)
    bandwidth_limit: Annotated[int, PlainValidator(parse_rate)] = 0  # KiB/s; 0: none
    timeout: Timeout = timedelta(seconds=120)  # without a byte from upstream
    connect_timeout: Timeout = timedelta(seconds=30)
    rsync: Word = "rsync"
    rsync_options: Annotated[tuple[Word, ...], AfterValidator(_harmless)] = ()
    tls_ca: AbsolutePath = Path("/etc/ssl/certs")  # a file or a directory, for rsyncs
    rounds: Annotated[int, Strict(), Field(ge=1)] = 5  # how often a run starts over when upstream moves on
    delete: Delete = Delete()
    update_in_progress: UpdateInProgress = UpdateInProgress()
    hooks: Hooks = Hooks()
    access: Access = Access.SITES
    comment: Text = ""  # what the daemon's list of modules says of it
    hosts_allow: tuple[Peer, ...] = ()  # who may connect for it at all; empty: everybody

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.path == Path("/"):
            raise ValueError("path: the whole file system cannot be a tree")
        if self.architectures and self.exclude_architectures:
            raise ValueError(
                "architectures and exclude_architectures contradict each other; expected one of them"
            )
        through_ssh = self.upstream is not None and self.upstream.scheme is Scheme.RSYNC_SSH
        if self.ssh_key and not through_ssh:
            raise ValueError("ssh_key: expected only with an upstream of rsync+ssh://")
        if self.ssh_options and not through_ssh:
            raise ValueError("ssh_options: expected only with an upstream of rsync+ssh://")
        if self.password_file and (self.upstream is None or through_ssh):
            raise ValueError("password_file: expected only with an upstream of rsync:// or rsyncs://")
        if self.password_file and self.upstream and not self.upstream.user:
            raise ValueError('password_file: expected a user in upstream: "rsync://user@host/module"')
        return self


class Push(Values):
    """How sites are woken."""

    key: AbsolutePath = Field(default_factory=lambda: Path("~/.ssh/pushmirror").expanduser())
    known_hosts: AbsolutePath | None = None  # the sites' pinned host keys; none: in the state directory
    addresses: tuple[Peer, ...] = ()  # that our pushes come from, for `from=` in the sites' authorized_keys
    deadline: Timeout = timedelta(minutes=10)  # how long stage 2 waits for late sites
    quorum: Share = 1.0  # of the staged sites: when they have stage 1, stage 2 begins
    timeout: Timeout = timedelta(hours=24)  # the longest that a site may take for one trigger
    connect_timeout: Timeout = timedelta(seconds=45)
    handshakes: Annotated[int, Strict(), Field(ge=1)] = 20  # connections being made at a time
    retry_after: Timeout = timedelta(seconds=15)  # the first time; twice as long each further time
    retry_at_most: Timeout = timedelta(minutes=30)
    retry_for: Duration = timedelta(hours=24)  # how long a push in the background goes on without `serve`
    report_after: Timeout = timedelta(hours=1)  # of failing, once


class Serve(Values):
    """What `pushmirror serve` and the daemon's configuration offer to sites."""

    host: Host | None = None  # the name that sites reach us by; none: the mirror's name
    rsync: Listening = "[::]:873"
    rsync_tls: Listening = "[::]:1873"  # only with a certificate
    certificate: AbsolutePath | None = None  # PEM, with its chain
    certificate_key: AbsolutePath | None = None
    max_connections: Annotated[int, Strict(), Field(ge=1)] = 50  # per archive
    uid: User = "nobody"  # only where the daemon is root's
    gid: User = "nogroup"
    timeout: Timeout = timedelta(minutes=10)  # without a byte from a site
    refuse_options: tuple[Option, ...] = ("checksum", "copy-links", "copy-dirlinks", "copy-unsafe-links")
    auth_digest: (
        Annotated[str, _matching(r"sha512|sha256|sha1|md5|md4", "sha512, sha256, sha1, md5 or md4")] | None
    ) = None  # the weakest
    password_grace: Duration = timedelta(days=7)  # how long the old password works after `site rotate`

    @model_validator(mode="after")
    def _whole_certificate(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key: expected both or neither")
        return self


def default_state_directory() -> Path:
    """/var/lib/pushmirror for root, a directory of the user's own otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/pushmirror")
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()
    return base / "pushmirror"


class State(Values):
    """Where runs, requests and generations are remembered."""

    directory: AbsolutePath = Field(default_factory=default_state_directory)
    database: Text | None = None  # an SQLAlchemy URL; none: SQLite in the directory
    keep_runs: Annotated[int, Strict(), Field(ge=1)] = 500  # per archive

    @property
    def database_url(self) -> str:
        """The database, as an SQLAlchemy URL."""
        return self.database or f"sqlite:///{self.directory / 'state.sqlite'}"

    @property
    def logs(self) -> Path:
        """The directory of the runs' log files."""
        return self.directory / "logs"


class Site(Values):
    """One downstream mirror."""

    name: Name
    host: Host
    user: User
    push: PushKind = PushKind.STAGED
    archives: Annotated[tuple[Name, ...], Field(min_length=1)]
    main_archive: Name | None = None  # the one that its ftpsync knows without a name
    port: Port | None = None  # of its ssh
    key: AbsolutePath | None = None  # our ssh key for it; none: that of [push]
    ssh_options: SshOptions = ()  # for the program ssh, which then is used to wake it
    canary: Flag = False  # goes first: the others wait until it is current
    paused: Flag = False
    url: Url | None = None  # where the public reads it, with {archive} for the archive's name
    trace: Name | None = None  # file name of its trace; none: its name


class Config(Values):
    """Everything an operator can say."""

    mirror: Mirror = Field(default_factory=Mirror)
    archives: Mapping[str, Archive] = Field(default_factory=dict)
    push: Push = Field(default_factory=Push)
    serve: Serve = Field(default_factory=Serve)
    state: State = Field(default_factory=State)
    sites: Mapping[str, Site] = Field(default_factory=dict)
    source: Path | None = None  # the pushmirror.toml this came from

    def sites_of(self, archive: str) -> list[Site]:
        """The sites of an archive that are woken at all, in the order of their names."""
        sites = (site for site in self.sites.values() if archive in site.archives)
        return sorted((site for site in sites if site.push is not PushKind.NONE), key=lambda site: site.name)

    @property
    def known_hosts(self) -> Path:
        """The file of the sites' pinned host keys."""
        return self.push.known_hosts or self.state.directory / "known_hosts"

    @property
    def public_host(self) -> str:
        """The name that sites reach us by."""
        return self.serve.host or self.mirror.name
