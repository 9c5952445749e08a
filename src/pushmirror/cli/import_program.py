"""How this very program is to be called from elsewhere."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from pushmirror.config import toml


def called_with(file: Path) -> tuple[str, ...]:
    """The words that call pushmirror with this configuration; sshd's PATH is short, and may have another."""
    called = Path(sys.argv[0]).absolute()
    program = str(called) if called.name == "pushmirror" else shutil.which("pushmirror") or "pushmirror"
    usual = file.parent in toml.usual_places()
    return (program,) if usual else (program, "--config", str(file))
