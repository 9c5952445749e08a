"""The configuration as typed, frozen values. Every default of the project is in this file and nowhere else.

A value of these classes is well-formed on its own; what needs the other values or the disk to judge
(duplicate sites, nested trees, password files) is for `config/loader.py`. Where files are found is too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, Strict, model_validator

from pushmirror.config.types import (
    AbsolutePath,
    Architecture,
    Count,
    Delay,
    Duration,
    Flag,
    Host,
    Listening,
    Name,
    Option,
    Paths,
    Pattern,
    Peer,
    Port,
    Proxy,
    Rate,
    RsyncOptions,
    Rule,
    Share,
    SshOptions,
    Text,
    Timeout,
    Url,
    User,
    Word,
    WrongKey,
    matching,
    one_or_many,
    own_name,
)
from pushmirror.config.upstream_url import Scheme, UpstreamUrl, parse_upstream

DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def looks_like_debian(archive: str) -> bool:
    """Whether Debian's keyring is the one to propose for an archive of this name."""
    return archive.casefold().startswith("debian")


class Strategy(StrEnum):
    """How a sync learns what changed."""

    AUTO = "auto"
    FULL = "full"
    INDEX = "index"
    MANIFEST = "manifest"


class Policy(StrEnum):
    """What becomes of a suite's new state that has a fault which apt would put up with."""

    PUBLISH = "publish"  # and say so
    HOLD = "hold"  # the suite stays at its last good state


class Rollback(StrEnum):
    """What becomes of a suite's signed state that is older than the one which is served here."""

    REFUSE = "refuse"  # the suite stays as it is: somebody may replay what has known holes
    WARN = "warn"  # it is published, with a warning


class Access(StrEnum):
    """Who may read an archive from our rsync daemon."""

    SITES = "sites"  # each with its user and password
    OPEN = "open"  # everybody
    NONE = "none"  # nobody: the daemon does not have it


class TlsMethod(StrEnum):
    """What carries rsync through TLS to an upstream of rsyncs://."""

    OWN = "own"  # ours; certificate and name are always checked
    STUNNEL = "stunnel"
    STUNNEL_OLD = "stunnel-old"  # without a look at the name in the certificate
    SOCAT = "socat"


class PushKind(StrEnum):
    """The kind of push of a site."""

    ALL = "all"
    STAGED = "staged"
    MHOP = "mhop"
    NONE = "none"

    @property
    def is_staged(self) -> bool:
        """Whether stage 1 and stage 2 are triggers of their own."""
        return self in {PushKind.STAGED, PushKind.MHOP}


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
    running_on: Host | None = None  # the machine that the trace names; none: its own name

    @model_validator(mode="after")
    def _not_a_name_with_a_meaning(self) -> Self:
        if self.name == "master":  # project/trace/master is the origin's
            raise WrongKey("name", '"master" is the trace of the archive\'s origin; expected a host name')
        return self


class Delete(Values):
    """When removing files stops and asks."""

    max_files: Count = 40_000
    max_share: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.25  # of the files in the tree


class UpdateInProgress(Values):
    """What upstream's Archive-Update-in-Progress flag does to a run."""

    wait: Duration = timedelta(minutes=20)  # before looking again
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
    inherit_environment: Flag = False  # they see ours, too, but for passwords; as the hooks of ftpsync do


class Callback(Values):
    """Whom we call by ssh after a run whose push had asked for it with sync:callback."""

    host: Host
    user: User = "archvsync"
    key: AbsolutePath


class Archive(Values):
    """One mirrored tree."""

    name: Name
    path: AbsolutePath
    upstream: Annotated[
        UpstreamUrl | None, PlainValidator(lambda v: None if v is None else parse_upstream(v))
    ] = None
    upstream_name: Host | None = None  # that the trace names; none: the host of `upstream`
    password_file: AbsolutePath | None = None
    proxy: Proxy | None = Field(default=None, repr=False)  # a web proxy on the way to an upstream of rsync://
    ssh_key: AbsolutePath | None = None  # for rsync+ssh
    ssh_options: SshOptions = ()  # the same, as words for ssh
    strategy: Strategy = Strategy.AUTO
    keyring: Paths = ()
    release_directories: tuple[Word, ...] = ()  # further places of Release files, relative to the tree
    incomplete: Policy = Policy.PUBLISH  # a state some of whose files upstream itself lacks, in two looks
    weak: Policy = Policy.PUBLISH  # a state whose Release file has no hash stronger than MD5 or SHA1
    rollback: Rollback = Rollback.REFUSE  # with a keyring: a state whose Date is before that of the one here
    architectures: tuple[Architecture, ...] = ()  # empty: all
    exclude_architectures: tuple[Architecture, ...] = ()
    filter: tuple[Rule, ...] = ()  # before all that follows; the first that matches decides, as in rsync(1)
    exclude: tuple[Pattern, ...] = ()  # not mirrored: what of it is here is deleted, as ftpsync does
    protect: tuple[Pattern, ...] = ()  # never deleted
    grace: Duration = timedelta(hours=36)  # how long replaced indices keep their files
    full_every: Timeout = timedelta(hours=24)
    stale_after: Timeout = timedelta(hours=12)  # status warns so long after the last success; error: 3 times
    bandwidth_limit: Rate = 0  # KiB per second, for all streams together; 0: none
    streams: Annotated[int, Strict(), Field(ge=1, le=16)] = 4  # transfers at a time, when there is much
    timeout: Timeout = timedelta(seconds=120)  # with next to nothing moved (64 bytes per second)
    connect_timeout: Timeout = timedelta(seconds=30)
    min_rate: Rate = (
        0  # KiB per second that each connection moves at least, on average over `timeout`; 0: any
    )
    time_limit: Timeout = timedelta(days=7)  # of each connection, which is for about 2 GB or one larger file
    retries: Count = 3  # in a run, after a connection that could not be made, stood still or broke
    retry_after: Timeout = timedelta(seconds=15)  # the first time; twice as long each further time
    rsync: Word = "rsync"
    rsync_options: RsyncOptions = ()
    tls_ca: AbsolutePath = Path("/etc/ssl/certs")  # a file or a directory, for rsyncs
    tls_method: TlsMethod = TlsMethod.OWN
    rounds: Annotated[int, Strict(), Field(ge=1)] = 5  # how often a run starts over when upstream moves on
    delete: Delete = Delete()
    update_in_progress: UpdateInProgress = UpdateInProgress()
    hooks: Hooks = Hooks()
    callback: Callback | None = None
    access: Access = Access.SITES
    module: Name | None = None  # of the daemon, that it is offered as; none: its name
    manifest: Flag = True  # sites are offered a manifest of the tree, in a module beside its own
    comment: Text = ""  # what the daemon's list of modules says of it
    hosts_allow: tuple[Peer, ...] = ()  # who may connect for it at all; empty: everybody

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.path == Path("/"):
            raise WrongKey("path", "/ cannot be a tree")
        if self.architectures and self.exclude_architectures:
            raise ValueError(
                "architectures and exclude_architectures contradict each other; expected one of them"
            )
        for directory in self.release_directories:
            if directory.startswith("/") or not {"", ".", ".."}.isdisjoint(directory.split("/")):
                raise WrongKey(
                    "release_directories",
                    f'expected paths in the tree like "debian/flat", found "{directory}"',
                )
        if 0 < self.bandwidth_limit <= self.min_rate:
            raise WrongKey("min_rate", "expected less than bandwidth_limit")
        scheme = self.upstream.scheme if self.upstream else None
        through_ssh = scheme in {Scheme.RSYNC_SSH, Scheme.RSYNCD_SSH}
        if self.ssh_key and not through_ssh:
            raise WrongKey("ssh_key", "expected only with an upstream of rsync+ssh:// or rsyncd+ssh://")
        if self.ssh_options and not through_ssh:
            raise WrongKey("ssh_options", "expected only with an upstream of rsync+ssh:// or rsyncd+ssh://")
        if self.password_file and scheme in {None, Scheme.RSYNC_SSH, Scheme.FILE}:
            raise WrongKey(
                "password_file", "expected only with an upstream of rsync://, rsyncs:// or rsyncd+ssh://"
            )
        if self.proxy and scheme is not Scheme.RSYNC:
            raise WrongKey("proxy", "expected only with an upstream of rsync://")
        if self.password_file and self.upstream and not self.upstream.user:
            raise WrongKey("password_file", 'expected a user in upstream: "rsync://user@host/module"')
        return self

    @property
    def module_name(self) -> str:
        """What follows the host in the address that sites read it by."""
        return self.module or self.name


class Push(Values):
    """How sites are pushed."""

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

    host: Host | None = None  # host name that sites connect to; none: the mirror's name
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
        Annotated[str, matching(r"sha512|sha256|sha1|md5|md4", "sha512, sha256, sha1, md5 or md4")] | None
    ) = None  # the weakest
    password_grace: Duration = timedelta(days=7)  # how long the old password works after `site rotate`

    @model_validator(mode="after")
    def _whole_certificate(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key: expected both or neither")
        return self


def default_state_directory() -> Path:
    """What PUSHMIRROR_STATE names; else /var/lib/pushmirror for root, for others a directory of their own."""
    named = os.environ.get("PUSHMIRROR_STATE", "")
    if named.startswith("/"):
        return Path(named)
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

    @property
    def manifests(self) -> Path:
        """Where each archive's manifest is, in a directory of its name, as sites read it."""
        return self.directory / "manifests"


class Site(Values):
    """One downstream mirror."""

    name: Name
    host: Host
    user: User
    push: PushKind = PushKind.STAGED
    archives: Annotated[tuple[Name, ...], Field(min_length=1)]
    reads: tuple[Name, ...] = ()  # further archives, which it may read and is not pushed for
    main_archive: Name | None = None  # the one that its ftpsync knows without a name
    archive_names: Mapping[Name, Name] = Field(default_factory=dict)  # of ours that it knows by another name
    callback: Flag = False  # it is asked to call us back when it is done
    delay: Annotated[tuple[Delay, ...], BeforeValidator(one_or_many)] = ()  # before it is pushed; added
    port: Port | None = None  # of its ssh
    key: AbsolutePath | None = None  # our ssh key for it; none: that of [push]
    ssh_options: SshOptions = ()  # for the program ssh, which is then used for its triggers
    canary: Flag = False  # goes first: the others wait until it is current
    paused: Flag = False
    url: Url | None = None  # where the public reads it, with {archive} for the archive's name
    trace: Name | None = None  # file name of its trace; none: its name

    def name_of(self, archive: str) -> str:
        """What the site calls an archive of ours; empty: its main one."""
        return "" if archive == self.main_archive else self.archive_names.get(archive, archive)


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
        """The pushed sites of an archive, in their order."""
        sites = (site for site in self.sites.values() if archive in site.archives)
        return [site for site in sites if site.push is not PushKind.NONE]

    def serves_manifest(self, archive: Archive) -> bool:
        """Whether anybody may read a manifest of an archive from us."""
        if not archive.manifest or archive.access is Access.NONE:
            return False
        readers = (site for site in self.sites.values() if archive.name in (*site.archives, *site.reads))
        return archive.access is Access.OPEN or any(readers)

    @property
    def known_hosts(self) -> Path:
        """The file of the sites' pinned host keys."""
        return self.push.known_hosts or self.state.directory / "known_hosts"

    @property
    def public_host(self) -> str:
        """The name that sites reach us by."""
        return self.serve.host or self.mirror.name
