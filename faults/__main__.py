"""`python -m faults`: see --help."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from faults import disks, fuzz, hub, kills, network, packets, peers, power, triggers, upstreams
from faults.campaign import Part, carry_out, table, values

#: The limits add up to 58 minutes.
PARTS: Mapping[str, Part] = {
    "kills": Part("kill -9, SIGTERM and SIGSTOP of each process, at random moments", kills.run, 560),
    "upstreams": Part("upstreams that are wrong, damaged, slow, or mean harm", upstreams.run, 580),
    "disks": Part("disks that are full, read-only or broken, and limits of processes", disks.run, 220),
    "power": Part("power cuts: what a disk holds that was not told to write", power.run, 100),
    "peers": Part("kills of ftpsync and debmirror, to compare", peers.run, 160),
    "fuzz": Part("a million inputs that nobody would write, for all that reads from outside", fuzz.run, 560),
    "network": Part("the network between a site and its upstream fails in every way", network.run, 620),
    "packets": Part("packets between a site and its upstream are lost, late, or dead", packets.run, 130),
    "hub": Part("five hundred sites of all tempers below a hub that dies, then two", hub.run, 180),
    "triggers": Part("ten thousand triggers of all kinds for one receiver", triggers.run, 360),
}
_SHORT = 0.02  # of the whole campaign


def main() -> int:
    """Attack what was asked for, print the table; 1 if a promise was broken."""
    options = _options()
    os.umask(0o022)
    logging.getLogger("pushmirror").addHandler(logging.NullHandler())  # of what runs in this process
    wanted = {name: PARTS[name] for name in options.parts or PARTS}
    scale = _SHORT if options.short else options.scale
    print(f"seed {options.seed}, scale {scale:g}: {', '.join(wanted)}", file=sys.stderr, flush=True)
    tallies = []
    with tempfile.TemporaryDirectory(prefix="pushmirror-faults-", dir=options.directory) as directory:
        for tally in carry_out(wanted, options.seed, Path(directory), scale):
            tallies.append(tally)
            print(f"{tally.part}: {'FAILED' if tally.failed else 'ok'}", file=sys.stderr, flush=True)
            for message in tally.messages:
                print(f"  {message}", file=sys.stderr, flush=True)
    print(json.dumps(list(map(values, tallies)), indent=2) if options.json else table(tallies))
    return 1 if any(tally.failed for tally in tallies) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="faults",
        description="Attack what pushmirror promises, at random: the counts that are promised to be zero\n"
        "are broken, lost, hangs, internal and leaks. The whole campaign takes less than an hour.",
        epilog="parts:\n"
        + "\n".join(f"  {name:10} {part.about}" for name, part in PARTS.items())
        + "\n\nexamples:\n  ./run faults\n  ./run faults --short\n  ./run faults kills --seed 7",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all")
    parser.add_argument(
        "--seed", type=int, default=1, help="the same seed draws the same faults; default: %(default)s"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the number of tries; default: %(default)s"
    )
    parser.add_argument("--short", action="store_true", help=f"as in the tests: --scale {_SHORT}")
    parser.add_argument("--directory", type=Path, help="where the trees are made; default: TMPDIR")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; parts: {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
