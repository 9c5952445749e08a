"""The pure core alone: Debian 12's real Packages, from packed bytes to the files it names."""

from __future__ import annotations

import gc
import hashlib
import lzma
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.names import REAL_PACKAGES
from bench.report import say, table
from pushmirror.archive.index import IndexKind, read_index
from pushmirror.archive.release import parse_release
from pushmirror.archive.signature import split_clearsigned

_NAME = "dists/bookworm/main/binary-amd64/Packages"
_THREE = re.compile(rb"^(Filename|Size|SHA256): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Timing:
    """One step, several times."""

    step: str
    size: int  # bytes that it reads
    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def parse(runs: int) -> list[Timing]:
    """Time each step."""
    packed = REAL_PACKAGES.read_bytes()
    plain = lzma.decompress(packed)
    signed = REAL_PACKAGES.with_name("bookworm.InRelease").read_bytes()
    steps: list[tuple[str, bytes, Callable[[bytes], object]]] = [
        ("unpack .xz (liblzma)", packed, lzma.decompress),
        ("SHA256", plain, lambda data: hashlib.sha256(data).digest()),
        ("cut at blank lines, nothing else", plain, lambda data: data.split(b"\n\n")),
        ("three fields by one regex, unchecked", plain, _THREE.findall),
        ("`read_index`: 63,440 files, checked", plain, _read),
        ("InRelease: `split_clearsigned`, `parse_release`", signed, _release),
    ]
    return [
        Timing(step, len(data), [_time(step, work, data) for _ in range(runs)]) for step, data, work in steps
    ]


def report(timings: list[Timing]) -> str:
    """The steps as a Markdown table."""
    rows = [
        [
            timing.step,
            f"{timing.size / 1e6:.1f} MB",
            f"{timing.median:.3f} s ({min(timing.seconds):.3f}-{max(timing.seconds):.3f})",
            f"{timing.size / 1e6 / timing.median:.0f} MB/s",
        ]
        for timing in timings
    ]
    return table(["step", "reads", "time", "rate"], rows)


def _read(data: bytes) -> object:
    return read_index(IndexKind.PACKAGES, data, base="", where=_NAME)


def _release(data: bytes) -> object:
    return parse_release(split_clearsigned(data, where="InRelease"), where="InRelease")


def _time(step: str, work: Callable[[bytes], object], data: bytes) -> float:
    gc.collect()
    started = time.perf_counter()
    result = work(data)
    seconds = time.perf_counter() - started
    say(f"{step}: {seconds:.3f} s")
    del result
    return seconds
