"""`python -m bench`: see --help."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench import broken, hotspots, parse, push, scenes, startup, suites, sync, targets, verify
from bench.archive import Shape
from bench.contenders import ALL, STRATEGIES
from bench.course import Scenario
from bench.ours import Ours
from bench.pushers import Runmirrors
from pushmirror.lab.dists import Layout


def main() -> int:
    """Measure what was asked for and print it."""
    options = _options()
    os.umask(0o022)  # trees of other modes would be corrected at every sync
    options.directory.mkdir(parents=True, exist_ok=True)
    Runmirrors.ssh_options = options.ssh_options
    Ours.source = options.source.absolute() / "src"
    measured: dict[str, object] = {}
    for title, text, values in (found for one in _wanted(options.what) for found in one(options)):
        measured[title] = values
        if not options.json:
            print(f"### {title}\n\n{text}\n", flush=True)  # as soon as there is something
    if options.json:
        print(json.dumps(measured, indent=2))
    return 0


def _shape(options: argparse.Namespace, files: int) -> Shape:
    return Shape.of(files, bodies=options.bodies, layout=options.layout)


Found = tuple[str, str, object]  # title, Markdown, all values for JSON


def _sync(options: argparse.Namespace) -> Iterator[Found]:
    for files in options.files:
        yield _raced(f"{files:,} files", _usual(options, files))


def _targets(options: argparse.Namespace) -> Iterator[Found]:
    """Every scene, each with its own table; at the end the table of targets."""
    found = targets.Results()
    files, shape = options.files[0], _shape(options, options.files[0])
    ours = [name for name in options.contenders if name in STRATEGIES]
    if "usual" in options.parts:
        found.usual = _usual(options, files, traced=[Scenario.UPDATE])
        yield _raced(f"{files:,} files", found.usual)
    if "twice" in options.parts:
        names = [name for name in ours if name != "full"]
        found.grown = scenes.twice_as_large(options.archives, options.directory, shape, names, options.runs)
        yield _raced("The same archive, beside one twice as large", found.grown.usual)
        yield _raced("Twice as large", found.grown.twice)
    if "far" in options.parts:
        names = [name for name in options.contenders if name in {"ftpsync", *ours}]
        far = _shape(options, options.far)
        found.far = scenes.far_away(options.archives, options.directory, far, names, options.runs)
        yield _raced(f"{options.far:,} files, 100 ms round trip", found.far)
    if "verify" in options.parts:
        found.verify = verify.race(options.archives, options.directory, shape, options.runs)
        yield "Verify", verify.report(found.verify), list(map(dataclasses.asdict, found.verify))
    if "large" in options.parts:
        large = _shape(options, options.large)
        found.large = scenes.one_by_one(options.archives, options.directory, large, ours)
        yield _raced(f"{options.large:,} files", found.large)
    if "startup" in options.parts:
        found.startup = startup.times(options.directory, options.runs)
        yield "Start-up", startup.report(found.startup), found.startup
    yield "Targets", targets.report(found), None


def _usual(options: argparse.Namespace, files: int, traced: list[Scenario] | None = None) -> sync.Measured:
    plan = sync.Plan(options.scenarios, options.contenders, options.runs, traced=traced or [])
    return sync.race(options.archives, options.directory, _shape(options, files), plan)


def _raced(title: str, measured: sync.Measured) -> Found:
    values = {" ".join(key): list(map(dataclasses.asdict, runs)) for key, runs in measured.costs.items()}
    return title, sync.report(measured), values


def _broken(options: argparse.Namespace) -> Iterator[Found]:
    names = [name for name in options.contenders if name in {"ftpsync", *STRATEGIES}]
    seen = broken.watch(options.directory, names, options.seconds, options.layout)
    yield "Never broken", broken.report(seen), list(map(dataclasses.asdict, seen))


def _parse(options: argparse.Namespace) -> Iterator[Found]:
    timings = parse.parse(options.runs)
    yield "Parsing", parse.report(timings), list(map(dataclasses.asdict, timings))


def _push(options: argparse.Namespace) -> Iterator[Found]:
    names = ["runmirrors", "pushmirror"]
    for count in options.sites:
        pushed = push.race(options.directory, count, names, options.runs)
        values = {name: list(map(dataclasses.asdict, runs)) for name, runs in pushed.items()}
        yield f"Push to {count} sites", push.report(pushed), values
    few = min(options.sites)
    troubled = push.trouble(options.directory, few, names)
    one_each = {name: dataclasses.asdict(one) for name, one in troubled.items()}
    yield f"Push to {few} sites, one hangs, one is slow", push.report_trouble(troubled), one_each


def _startup(options: argparse.Namespace) -> Iterator[Found]:
    found = startup.times(options.directory, options.runs)
    yield "Start-up", startup.report(found), found


def _verify(options: argparse.Namespace) -> Iterator[Found]:
    shape = _shape(options, options.files[0])
    found = verify.race(options.archives, options.directory, shape, options.runs)
    yield "Verify", verify.report(found), list(map(dataclasses.asdict, found))


def _suites(options: argparse.Namespace) -> Iterator[Found]:
    names = [name for name in options.contenders if name in STRATEGIES]
    shape = suites.shape(options.files[0], bodies=options.bodies, layout=options.layout)
    pairs = suites.race(options.archives, options.directory, shape, names, options.runs)
    yield f"{shape.suites} suites, one of them broken", suites.report(pairs), suites.values(pairs)


def _profile(options: argparse.Namespace) -> Iterator[Found]:
    names = [name for name in options.contenders if name in STRATEGIES]
    for files in options.files:
        shape = _shape(options, files)
        text = hotspots.profile(options.archives, options.directory, shape, options.scenarios, names)
        yield f"Profile at {files:,} files", f"```\n{text}\n```", text


_JOBS: dict[str, Callable[[argparse.Namespace], Iterator[Found]]] = {
    "sync": _sync,
    "targets": _targets,
    "broken": _broken,
    "parse": _parse,
    "push": _push,
    "startup": _startup,
    "suites": _suites,
    "verify": _verify,
    "profile": _profile,
}
_PARTS = ("usual", "twice", "far", "verify", "large", "startup")


def _wanted(what: str) -> list[Callable[[argparse.Namespace], Iterator[Found]]]:
    return [_targets, _broken, _parse, _push] if what == "all" else [_JOBS[what]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="pushmirror beside ftpsync, debmirror, rsync alone, and runmirrors"
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*_JOBS, "all"])
    parser.add_argument(
        "--files", type=_numbers, default=[322_000], help="pool files: N,N…; `targets` takes one"
    )
    parser.add_argument(
        "--bodies", action="store_true", help="stanzas as long as Debian's, not 270 bytes each"
    )
    parser.add_argument(
        "--layout", type=Layout, choices=list(Layout), default=Layout.DAK, help="of the archives"
    )
    parser.add_argument("--sites", type=_numbers, default=[100], help="of `push`: N,N…")
    parser.add_argument("--ssh-options", default="", help="of `push`, for runmirrors' ssh")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scenarios", type=_scenarios, default=list(Scenario), help=_of(Scenario))
    contenders = [name for name in ALL if name != "auto"]
    parser.add_argument("--contenders", type=_words, default=contenders, help=_of(ALL))
    parser.add_argument("--seconds", type=float, default=60, help="of `broken`, for each contender")
    parser.add_argument("--parts", type=_words, default=list(_PARTS), help=f"of `targets`: {_of(_PARTS)}")
    parser.add_argument("--far", type=int, default=30_000, help="of `targets`: pool files behind 100 ms")
    parser.add_argument("--large", type=int, default=1_500_000, help="of `targets`: pool files, for memory")
    parser.add_argument(
        "--source", type=Path, default=Ours.source.parent, help="checkout of the pushmirror to measure"
    )
    here = Path(tempfile.gettempdir(), "pushmirror-bench")
    parser.add_argument(
        "--directory", type=Path, default=here, help="of the mirrors: 1.6 GB and 0.36 million inodes for each"
    )
    parser.add_argument(
        "--archives", type=Path, default=here / "archives", help="kept there for the next time: 10 GB in all"
    )
    parser.add_argument("--json", action="store_true", help="every single run, as JSON")
    return parser.parse_args()


def _of(words: Iterable[str]) -> str:
    return f"of {','.join(words)}"


def _words(text: str) -> list[str]:
    return text.split(",")


def _scenarios(text: str) -> list[Scenario]:
    return [Scenario(word) for word in text.split(",")]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
