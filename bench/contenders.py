"""The programs that are measured, by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.mirror import Contender, Upstream
from bench.ours import Ours
from bench.peers import Bare, Debmirror, Ftpsync

Make = Callable[[Path, Upstream], Contender]
STRATEGIES = ("full", "index", "manifest", "auto")
PEERS: Mapping[str, Make] = {"ftpsync": Ftpsync, "debmirror": Debmirror, "bare": Bare}
ALL = (*PEERS, *STRATEGIES)


def make(name: str, directory: Path, upstream: Upstream, *, grace: str = "36h") -> Contender:
    """The contender of this name, with nothing; `grace` is for ours."""
    shutil.rmtree(directory, ignore_errors=True)
    if name in STRATEGIES:
        return Ours(directory, upstream, strategy=name, grace=grace)
    return PEERS[name](directory, upstream)
