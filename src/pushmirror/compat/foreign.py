"""Whether archvsync's own ftpsync is at work on a tree: with it there is no sharing.

It knows no lock but the pid in a flag file, which proves nothing by itself: the process may be gone, and the
pid another one's (archvsync's bug 17). So the process is looked at.
"""

from __future__ import annotations

from pathlib import Path

from pushmirror.sync.parts import UPDATING


def real_ftpsync_on(tree: Path, mirror: str) -> int | None:
    """The process of a bash that runs an ftpsync and has raised the flag of this mirror, if there is one."""
    try:
        pid = int((tree / f"{UPDATING}{mirror}").read_text("ascii", "replace"))
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except (OSError, ValueError):
        return None
    is_bash = Path(argv[0]).name.startswith("bash")
    return pid if is_bash and any(Path(word).name.startswith("ftpsync") for word in argv[1:]) else None
