"""The report of a run, as numbers and words, and its public form: the trace."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pushmirror import __version__
from pushmirror.archive.trace import Trace
from pushmirror.config.model import Archive, Mirror, Strategy
from pushmirror.config.types import own_name
from pushmirror.config.upstream_url import Scheme
from pushmirror.fetch.upstream import Traffic
from pushmirror.state.records import OWNER_SCAN, Stage
from pushmirror.system import clock
from pushmirror.tree.published_state import PublishedState
from pushmirror.tree.traces import Traces

_ARCHITECTURE = re.compile(r"(?:^|/)(?:binary-([^/]+)/Packages|(source)/Sources)\b")
_TRANSPORTS = {
    Scheme.RSYNC: "undefined",
    Scheme.RSYNCS: "ssl",
    Scheme.RSYNC_SSH: "ssh",
    Scheme.RSYNCD_SSH: "ssh",
    Scheme.FILE: "undefined",
}


@dataclass(slots=True)
class Report:
    """What a run has done so far."""

    started: datetime
    strategy: str = ""
    why: str = ""  # this strategy
    generation: str = ""  # that is published now
    prepared: str = ""  # that stage 1 has fetched ahead for
    architectures: tuple[str, ...] = ()  # in the tree
    rounds: int = 0
    stock: str = ""  # what an owner's scan found, as a short text
    landed: int = 0  # new files that entered the tree before the indices
    published: int = 0  # names that changed when the indices did
    deleted: int = 0
    kept: int = 0  # files that only recently replaced indices refer to
    lost: int = 0  # of these: files that the live indices name and upstream lacks
    held: dict[str, str] = field(default_factory=dict)  # suites that are held back, and why
    missing: int = 0  # files that upstream lacks and the published indices name
    withheld: int = 0  # deletions that were too many
    withheld_reason: str = ""
    selection: int = 0  # of what is mirrored of upstream's tree; see `selection_hash`
    hook_exit_code: int = 0  # of the hook that failed and so ended the run; 0: none did
    seconds_stage1: float = 0.0
    seconds_stage2: float = 0.0
    files_fetched: int = 0
    bytes_fetched: int = 0
    bytes_received: int = 0  # over the network, listings included
    bytes_sent: int = 0

    def note_strategy(self, strategy: Strategy, why: str) -> None:
        """Record the strategy in use; `why` is empty until it has answered."""
        self.strategy = strategy.value
        if why:
            self.why = why

    def take_traffic(self, traffic: Traffic) -> None:
        """Record the traffic."""
        self.files_fetched, self.bytes_fetched = traffic.files_fetched, traffic.bytes_fetched
        self.bytes_received, self.bytes_sent = traffic.bytes_received, traffic.bytes_sent

    def numbers(self) -> dict[str, int | float]:
        """The figures for the store."""
        return {
            "rounds": self.rounds,
            "files_fetched": self.files_fetched,
            "bytes_fetched": self.bytes_fetched,
            "bytes_received": self.bytes_received,
            "bytes_sent": self.bytes_sent,
            "landed": self.landed,
            "published": self.published,
            "deleted": self.deleted,
            "kept_for_grace": self.kept,
            "lost_upstream": self.lost,
            "withheld_deletions": self.withheld,
            "held_suites": len(self.held),
            "missing_upstream": self.missing,
            "seconds_stage1": round(self.seconds_stage1, 3),
            "seconds_stage2": round(self.seconds_stage2, 3),
            "selection": self.selection,
            **({"hook_exit_code": self.hook_exit_code} if self.hook_exit_code else {}),
        }

    def facts(self) -> dict[str, str]:
        """The facts for hooks."""
        return {
            "generation": self.generation,
            "published": str(self.published),
            "held_suites": " ".join(sorted(self.held)),
        }

    def summary(self) -> str:
        """The run in one line."""
        if self.strategy == OWNER_SCAN:
            return f"scanned the tree: {self.stock}" if self.stock else "scanned the tree"
        fetched = "1 file" if self.files_fetched == 1 else f"{self.files_fetched} files"
        if self.files_fetched:
            fetched += f" ({self.bytes_fetched / 1e6:.1f} MB)"
        words = [f"fetched {fetched}", f"published {self.landed + self.published}"]
        words.append(f"deleted {self.deleted}")
        if self.kept > self.lost:
            words.append(f"{self.kept - self.lost} kept for grace")
        if self.lost:
            words.append(f"{self.lost} kept although upstream lacks them")
        if self.missing:
            words.append(f"{self.missing} missing upstream")
        if self.held:
            directory, reason = min(self.held.items())
            suites = "1 suite" if len(self.held) == 1 else f"{len(self.held)} suites"
            words.append(f"{suites} held back: {directory}: {reason}")
        if self.withheld:
            what = f"{self.withheld} NOT DELETED" if self.deleted else "NOTHING DELETED"
            words.append(f"{what}: {self.withheld_reason}")
        return ", ".join(words)


def architectures_of(published: PublishedState, tree: Path) -> tuple[str, ...]:
    """The architectures whose Packages or Sources are in the tree."""
    found: set[str] = set()
    for suite in published.suites.values():
        for path in suite.release.files:
            match = _ARCHITECTURE.search(path)
            name = match and (match[1] or match[2])
            if name and name not in found and (tree / suite.directory / path).exists():
                found.add(name)
    return tuple(sorted(found))


def trace_of(
    report: Report,
    archive: Archive,
    mirror: Mirror,
    *,
    stage: Stage,
    trigger: str,
    traces: Traces,
    pinned: Path,
) -> Trace:
    """The trace of a run; that of a stage 2 includes the time of the stage 1 before it, as ftpsync's.

    That of a stage 1 has the serial of upstream's state in `pinned`, whose `master` is not published here
    yet.
    """
    assert archive.upstream is not None
    serial = traces.serial(pinned if stage is Stage.STAGE1 else None)
    stage1_s, stage2_s = report.seconds_stage1, report.seconds_stage2
    if stage is Stage.STAGE2 and (before := traces.stage1_seconds()) is not None:
        stage1_s, stage2_s = before, stage1_s + stage2_s
    return Trace(
        finished=clock.now(),
        started=report.started,
        version=f"pushmirror/{__version__}",
        creator=f"pushmirror {__version__}",
        host=mirror.running_on or own_name(),
        archive_serial=serial,
        maintainer=mirror.maintainer or "",
        sponsor=mirror.sponsor or "",
        country=mirror.country or "",
        location=mirror.location or "",
        throughput=mirror.throughput or "",
        trigger=trigger,
        architectures=report.architectures,
        included=archive.architectures,
        excluded=archive.exclude_architectures,
        upstream=archive.upstream_name or archive.upstream.host or "unknown",
        transport=_TRANSPORTS[archive.upstream.scheme],
        bytes_received=report.bytes_received,
        stage1_s=int(stage1_s),
        stage2_s=int(stage2_s),
        generation=report.generation,
        strategy=report.strategy,
    )
