"""What `serve` needs beside the rsync daemon's files: its certificate, and room for its logs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pushmirror.access import certificate, daemon
from pushmirror.cli.doctor.finding import Finding, error, ok, warning
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError

_SOON = timedelta(days=14)  # a renewal that works has happened by then
_LARGE = 512 * 1024**2  # bytes of a log
_SUBJECT = "certificate"


def tls(config: Config, now: datetime) -> Iterator[Finding]:
    """Whether the certificate can be used, and for how long."""
    try:
        seen = certificate.read(config.serve)
    except ConfigError as exc:
        todo = exc.hint or "correct it: rsync over TLS does not work without; the rest of serve goes on"
        yield error(_SUBJECT, str(exc), todo)
        return
    if seen is None:
        return
    file, left = config.serve.certificate, seen.expires - now
    if seen.begins > now:
        yield error(_SUBJECT, f"{file} counts only from {seen.begins:%Y-%m-%d %H:%M} UTC", "see the clock")
    elif left < timedelta():
        yield error(_SUBJECT, f"{file} expired at {seen.expires:%Y-%m-%d %H:%M} UTC", "renew it")
    elif left < _SOON:
        todo = "renew it; serve then reads it by itself, another's stunnel needs a HUP"
        yield warning(_SUBJECT, f"{file} expires in {left.days} days", todo)
    else:
        yield ok(_SUBJECT, f"{file}, for {left.days} days")


def logs(config: Config) -> Iterator[Finding]:
    """Logs that nobody rotates fill the file system of the state."""
    where = daemon.places(config)
    for file in (where.log, where.tls_log):
        size = file.stat().st_size if file.exists() else 0
        if size > _LARGE:
            todo = "rotate it: pushmirror serve --print logrotate > /etc/logrotate.d/pushmirror"
            yield warning("log of the daemon", f"{file} has {size / 1024**3:.1f} GiB", todo)
