"""Where the time of one sync of ours goes: Python's profiler on the whole command."""

from __future__ import annotations

import io
import pstats
from pathlib import Path

from bench.archive import BigArchive
from bench.contenders import Ours
from bench.sync import SCENARIOS, Race
from pushmirror.lab.daemon import RsyncDaemon

_LINES = 30


def profile(directory: Path, files: int, scenarios: list[str]) -> str:
    """One run of each scenario; the functions that took longest, by their own time and with all they call.

    Time of rsync and of the processes that read indices shows as waiting for them.
    """
    archive = BigArchive.at(directory, files=files)
    texts = []
    with RsyncDaemon(directory / "rsyncd") as daemon:
        race = Race(archive, directory, daemon, ["pushmirror"])
        ours = race.contenders[0]
        assert isinstance(ours, Ours)
        for scenario in scenarios:
            race.prepare(scenario, ours)
            output = directory / f"{scenario}.prof"
            cost = race.sync(ours, ours.profile_argv(output))
            shown = io.StringIO()
            stats = pstats.Stats(str(output), stream=shown).strip_dirs()
            stats.sort_stats("cumulative").print_stats(_LINES).sort_stats("tottime").print_stats(_LINES)
            texts.append(f"{SCENARIOS[scenario]}, {files} files: {cost.wall_s:.2f} s, CPU {cost.cpu_s:.2f} s")
            texts.append(shown.getvalue())
    return "\n".join(texts)
