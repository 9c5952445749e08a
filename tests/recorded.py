"""The mirror that was recorded with an earlier commit: see data/recorded/README.md."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from pushmirror.system import process

_RECORD = Path(__file__).parent / "data/recorded/state-of-7172aaf.tar.xz"
_WAS_AT = "/srv/recorded"  # what its configuration names
_UPSTREAM = "rsync://127.0.0.1:PORT/"  # the same
_NOBODY = "rsync://127.0.0.1:9/"
#: The command, which prints the names of all modules that it has loaded at its end.
_COUNTED = """
import sys
from pushmirror.cli.main import main
code = main()
print("MODULES", *sys.modules, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class RecordedMirror:
    """Its directory, and the generation that it serves."""

    directory: Path
    served: str = "873746e00ee54767e21b855287a4bd96c4f187dd30c613c8e047e761876173cd"

    @classmethod
    def unpack(cls, directory: Path, *, upstream: str = _NOBODY, sites: bool = True) -> RecordedMirror:
        """Have it in a new directory; `upstream` is the URL that its archives are below."""
        directory.mkdir(parents=True)
        process.run(["tar", "-xJf", str(_RECORD), "--no-same-owner", "-C", str(directory)]).check()
        mirror = cls(directory)
        config = mirror.etc / "pushmirror.toml"
        words = config.read_text().replace(_WAS_AT, str(directory)).replace(_UPSTREAM, upstream)
        config.write_text(words)
        if not sites:
            for file in (mirror.etc / "sites.d").iterdir():
                file.unlink()
        return mirror

    @property
    def etc(self) -> Path:
        """Its configuration."""
        return self.directory / "mirror/etc"

    @property
    def state(self) -> Path:
        """Its state directory."""
        return self.directory / "mirror/state"

    @property
    def upstream(self) -> Path:
        """What its upstream serves; upstream's manifest is beside it."""
        return self.directory / "upstream/tree"

    def run(self, *words: str, modules: bool = False) -> process.Result:
        """Run `pushmirror WORDS` on it; with `modules` it also prints what it loaded."""
        start = ["-c", _COUNTED] if modules else ["-m", "pushmirror"]
        return process.run([sys.executable, *start, "--config", str(self.etc), *words], timeout_s=120)

    @staticmethod
    def modules(result: process.Result) -> set[str]:
        """What a command had loaded at its end."""
        (line,) = (line for line in result.errors.splitlines() if line.startswith("MODULES "))
        return set(line.split()[1:])
