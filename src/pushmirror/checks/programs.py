"""Check that the programs which the configuration needs exist, and are new enough."""

from __future__ import annotations

from collections.abc import Iterator

from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.config.model import Config, PushKind, TlsMethod
from pushmirror.config.upstream_url import Scheme
from pushmirror.errors import PushmirrorError
from pushmirror.fetch.rsync_command import Version
from pushmirror.system import process
from pushmirror.system.rsync_version import rsync_version

_OLDEST = (3, 1, 3)
_REJECTS_NAMES = {(3, 2, 4), (3, 2, 5)}
_SECURE = (3, 5, 0)


def all_of(config: Config) -> Iterator[Finding]:
    """The findings about all needed programs."""
    for program in sorted({archive.rsync for archive in config.archives.values()}):
        yield rsync(program)
    if any(archive.keyring for archive in config.archives.values()):
        yield answering("gpgv", "--version")
    if needs_ssh(config):
        yield answering("ssh", "-V")
    for program in sorted(tls_programs(config)):
        yield answering(program, "-version" if program == "stunnel" else "-V")


def tls_programs(config: Config) -> set[str]:
    """The programs for rsync over TLS, except ours."""
    upstreams = config.archives.values()
    methods = {one.tls_method for one in upstreams if one.upstream and one.upstream.scheme is Scheme.RSYNCS}
    return {"socat" if method is TlsMethod.SOCAT else "stunnel" for method in methods - {TlsMethod.OWN}}


def needs_ssh(config: Config) -> bool:
    """Whether anything is pushed or pulled through ssh."""
    through_ssh = {Scheme.RSYNC_SSH, Scheme.RSYNCD_SSH}
    pulls = any(one.upstream and one.upstream.scheme in through_ssh for one in config.archives.values())
    calls = any(one.callback for one in config.archives.values())
    return pulls or calls or any(site.push is not PushKind.NONE for site in config.sites.values())


def rsync(program: str) -> Finding:
    """One rsync."""
    try:
        version = Version(rsync_version(program))
    except PushmirrorError as exc:
        return error(program, str(exc), exc.hint or "install the Debian package rsync")
    return judge_rsync(program, version)


def judge_rsync(program: str, version: Version) -> Finding:
    """The finding about a version of rsync."""
    found = f"version {version}"
    if version.number < _OLDEST:
        return error(program, f"{found}, expected at least 3.1.3", "install a newer rsync")
    if version.number in _REJECTS_NAMES:
        why = "3.2.4 and 3.2.5 wrongly reject file names that were asked for"
        return warning(program, f"{found}: {why}", "install 3.2.6 or newer")
    if version.number < _SECURE:
        why = "3.5.0 fixed security holes, some of which a malicious upstream can use"
        return warning(
            program,
            f"{found}: {why}",
            "install 3.5.0, or check that your distribution has backported the fixes",
        )
    return ok(program, found)


def answering(program: str, option: str) -> Finding:
    """A program of any version."""
    try:
        result = process.run([program, option], timeout_s=30).check()
    except PushmirrorError as exc:
        return error(program, str(exc), exc.hint or f"run `{program} {option}` to see why")
    said = result.output.decode("utf-8", "replace") or result.errors
    lines = said.strip().splitlines()
    telling = (line for line in lines if program in line.lower() and any(map(str.isdigit, line)))
    return ok(program, next(telling, lines[0] if lines else "").strip())
