"""How long pushmirror takes until it does something: `--help` to its end, `receive` until it asks upstream.

When `receive` first speaks to its upstream it has written the request down, has the lock and its run has
begun; so "reaching its work" is a little less than what is told here.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from bench.ours import Ours
from bench.report import say, spread, table
from pushmirror.lab.services import HOST
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process

_LIMIT_S = 30.0
Times = Mapping[str, list[float]]  # command -> seconds, of each run


def times(directory: Path, runs: int) -> Times:
    """Both, so often."""
    place = directory / "startup"
    shutil.rmtree(place, ignore_errors=True)
    with socket.create_server((HOST, 0)) as upstream:
        upstream.settimeout(_LIMIT_S)
        port = upstream.getsockname()[1]
        site = LabSite(place, upstream=f"rsync://{HOST}:{port}/{ARCHIVE}", timeout="10s")
        _receive(site, upstream)  # its database is made only once
        found = {
            "--help": [_help(site) for _ in range(runs)],
            "receive": [_receive(site, upstream) for _ in range(runs)],
        }
    say(f"start-up: {found}")
    return found


def report(found: Times) -> str:
    """The times as a Markdown table."""
    return table(["command", "time"], [[name, f"{spread(one)} s"] for name, one in found.items()])


def _help(site: LabSite) -> float:
    started = time.monotonic()
    process.run(site.argv("--help"), env=Ours.environment(), timeout_s=_LIMIT_S).check()
    return time.monotonic() - started


def _receive(site: LabSite, upstream: socket.socket) -> float:
    env = {**Ours.environment(), "SSH_ORIGINAL_COMMAND": f"sync:archive:{ARCHIVE} sync:all"}
    log = site.directory / "receive.log"
    started = time.monotonic()
    with process.background(site.argv("receive"), env=env, log=log) as child:
        connection, _ = upstream.accept()
        waited = time.monotonic() - started
        with connection:
            child.stop()
    return waited
