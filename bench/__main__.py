"""`python -m bench`: see --help."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

from bench import sync
from bench.contenders import CONTENDERS, Ours


def main() -> int:
    """Measure what was asked for and print it."""
    options = _options()
    os.umask(0o022)  # a tree of other modes would be changed by both at every sync
    Ours.source = options.source.absolute() / "src"
    options.directory.mkdir(parents=True, exist_ok=True)
    results: dict[str, object] = {}
    texts: list[str] = []
    if options.what in {"sync", "all"}:
        plan = sync.Plan(options.scenarios, options.contenders, options.runs)
        for files in options.files:
            measured = sync.race(options.directory, files, plan)
            texts.append(sync.report(measured))
            results[f"sync {files}"] = {
                " ".join(key): [dataclasses.asdict(cost) for cost in costs]
                for key, costs in measured.costs.items()
            }
    print(json.dumps(results, indent=2) if options.json else "\n\n".join(texts))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="pushmirror beside the real ftpsync, on loopback"
    )
    parser.add_argument(
        "what", nargs="?", default="all", choices=["sync", "broken", "parse", "profile", "all"]
    )
    parser.add_argument("--files", type=_numbers, default=[30_000, 300_000], help="pool files: N,N…")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--scenarios", type=_words, default=list(sync.SCENARIOS), help="of full,nochange,update"
    )
    parser.add_argument("--contenders", type=_words, default=list(CONTENDERS), help="of ftpsync,pushmirror")
    parser.add_argument(
        "--source", type=Path, default=Ours.source.parent, help="checkout of the pushmirror to measure"
    )
    parser.add_argument("--seconds", type=float, default=60, help="of `broken`, for each contender")
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
