"""The others: ftpsync and debmirror of the Debian packages, and rsync alone; each with its own mirror."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.mirror import Upstream
from bench.names import ARCHITECTURES


class Ftpsync:
    """The real ftpsync of the Debian package, as its own documentation sets it up."""

    name: str = "ftpsync"
    parts: Sequence[str] = ("",)

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        self.tree: Path = directory / "tree"
        self._home = directory / "home"
        self.env: Mapping[str, str] = {"HOME": str(self._home), "LOGNAME": "bench"}
        config = self._home / ".config/ftpsync/ftpsync.conf"
        config.parent.mkdir(parents=True)
        lines = {
            "MIRRORNAME": "site.lab.example.org",
            "TRACEHOST": "site.lab.example.org",
            "TO": f"{self.tree}/",
            "RSYNC_HOST": upstream.host,
            "RSYNC_PATH": upstream.module,
            "RSYNC_USER": upstream.user,
            "RSYNC_PASSWORD": upstream.password,
            "RSYNC_EXTRA": f"--port={upstream.port}",  # host::path has no place for it
        }
        config.write_text("".join(f'{key}="{value}"\n' for key, value in lines.items()))

    def argv(self) -> Sequence[str]:
        return ["/usr/bin/ftpsync"]  # not ours, which ./run has in front of it

    def wipe(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.rmtree(self._home / ".local", ignore_errors=True)

    def remember(self) -> None:
        """It knows nothing but its tree."""

    def recall(self) -> None:
        """See remember."""

    def took(self) -> str:
        return ""


class Debmirror:
    """debmirror of the Debian package, over rsync. It mirrors what indices name, and no by-hash.

    Left at its defaults, but for what names upstream. For a first sync it asks for 200 names at a time, each
    time with a walk of their directories, so its mirror is made by a copy that it then takes for its own.
    """

    name: str = "debmirror"
    parts: Sequence[str] = ("pool",)

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        self.tree: Path = directory / "tree"
        self._kept = directory / "kept"
        self._upstream = upstream
        self.suites: Sequence[str] = ("sid",)
        self.env: Mapping[str, str] = {"HOME": str(directory), "RSYNC_PASSWORD": upstream.password}
        directory.mkdir(parents=True)

    def argv(self) -> Sequence[str]:
        one = self._upstream
        return [
            "debmirror",
            "--method=rsync",
            f"--host={one.host}",
            f"--user={one.user}",
            f"--root={one.module}",
            f"--rsync-options=-aIL --partial --port={one.port}",
            f"--dist={','.join(self.suites)}",
            "--section=main",
            f"--arch={','.join(ARCHITECTURES)}",
            f"--keyring={one.keyring}",
            str(self.tree),
        ]

    def wipe(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)

    def remember(self) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)
        for name in self._own():
            _copy(self.tree / name, self._kept / name)

    def recall(self) -> None:
        for name in self._own():
            _remove(self.tree / name)
        for kept in self._kept.iterdir():
            _copy(kept, self.tree / kept.name)

    def took(self) -> str:
        return ""

    def _own(self) -> list[str]:
        return [path.name for path in self.tree.iterdir() if path.name != "pool"]


class Bare:
    """rsync that is told what changed, and `rm` for what is gone: nobody can do it with less.

    It finds nothing out, checks nothing, and its mirror is broken while it runs.
    """

    name: str = "bare"
    parts: Sequence[str] = ("",)

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        self.tree: Path = directory / "tree"
        self._names, self._gone = directory / "names", directory / "gone"
        self.env: Mapping[str, str] = {"RSYNC_PASSWORD": upstream.password}
        directory.mkdir(parents=True)
        self._from = f"{upstream.url}/"

    def tell(self, names: Sequence[str], gone: Sequence[str]) -> None:
        """What the next run has to do."""
        self._names.write_text("".join(f"{name}\n" for name in sorted(names)))
        self._gone.write_text("".join(f"{name}\n" for name in gone))

    def argv(self) -> Sequence[str]:
        script = 'rsync -ltH --files-from="$1" "$3" "$4" && cd "$4" && xargs -d "\\n" rm -f -- <"$2"'
        return ["sh", "-c", script, "bare", str(self._names), str(self._gone), self._from, f"{self.tree}/"]

    def wipe(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)

    def remember(self) -> None:
        """It knows nothing."""

    def recall(self) -> None:
        """See remember."""

    def took(self) -> str:
        return ""


def _copy(path: Path, to: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, to, symlinks=True)
    else:
        shutil.copy2(path, to, follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
