"""`python -m bench`: see --help."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import broken, hotspots, parse, push, sync
from bench.contenders import CONTENDERS, Ours
from bench.pushers import Runmirrors


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


Found = tuple[str, str, object]  # title, Markdown, all values for JSON


def _sync(options: argparse.Namespace) -> Iterator[Found]:
    plan = sync.Plan(options.scenarios, options.contenders, options.runs)
    for files in options.files:
        measured = sync.race(options.directory, files, plan)
        values = {" ".join(key): list(map(dataclasses.asdict, runs)) for key, runs in measured.costs.items()}
        yield f"{files:,} files", sync.report(measured), values


def _broken(options: argparse.Namespace) -> Iterator[Found]:
    seen = broken.watch(options.directory, options.contenders, options.seconds)
    yield "Never broken", broken.report(seen), list(map(dataclasses.asdict, seen))


def _parse(options: argparse.Namespace) -> Iterator[Found]:
    timings = parse.parse(options.runs)
    yield "Parsing", parse.report(timings), list(map(dataclasses.asdict, timings))


def _push(options: argparse.Namespace) -> Iterator[Found]:
    names = [{"ftpsync": "runmirrors"}.get(name, name) for name in options.contenders]
    for count in options.sites:
        pushed = push.race(options.directory, count, names, options.runs)
        values = {name: list(map(dataclasses.asdict, runs)) for name, runs in pushed.items()}
        yield f"Push to {count} sites", push.report(pushed), values
    few = min(options.sites)
    troubled = push.trouble(options.directory, few, names)
    one_each = {name: dataclasses.asdict(one) for name, one in troubled.items()}
    yield f"Push to {few} sites, one hangs, one is slow", push.report_trouble(troubled), one_each


def _profile(options: argparse.Namespace) -> Iterator[Found]:
    for files in options.files:
        text = hotspots.profile(options.directory, files, options.scenarios)
        yield f"Profile at {files:,} files", f"```\n{text}\n```", text


_ALL = {"sync": _sync, "broken": _broken, "parse": _parse, "push": _push}


def _wanted(what: str) -> list[Callable[[argparse.Namespace], Iterator[Found]]]:
    return list(_ALL.values()) if what == "all" else [{**_ALL, "profile": _profile}[what]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="pushmirror beside the real ftpsync and runmirrors"
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*_ALL, "profile", "all"])
    parser.add_argument("--files", type=_numbers, default=[30_000, 300_000], help="pool files: N,N…")
    parser.add_argument("--sites", type=_numbers, default=[100], help="of `push`: N,N…")
    parser.add_argument("--ssh-options", default="", help="of `push`, for runmirrors' ssh")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--scenarios", type=_words, default=list(sync.SCENARIOS), help="of full,nochange,update"
    )
    parser.add_argument(
        "--contenders",
        type=_words,
        default=list(CONTENDERS),
        help="of ftpsync,pushmirror; `push` takes ftpsync's runmirrors",
    )
    parser.add_argument("--seconds", type=float, default=60, help="of `broken`, for each contender")
    parser.add_argument(
        "--source", type=Path, default=Ours.source.parent, help="checkout of the pushmirror to measure"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir(), "pushmirror-bench"),
        help="archives are kept there for the next time; about 5 GB and 1.3 million inodes for the large one",
    )
    parser.add_argument("--json", action="store_true", help="every single run, as JSON")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
