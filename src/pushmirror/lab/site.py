"""A mirror of the lab: its own configuration, and the real command line that runs with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit

from pushmirror.system import process
from pushmirror.system.files import write_atomically

ARCHIVE = "debian"
_LIMIT_S = 1800.0  # far longer than needed, also on a busy machine


class LabSite:
    """One mirror with one archive, all of it below one directory."""

    def __init__(
        self,
        directory: Path,
        *,
        upstream: str | None = None,
        password: str | None = None,
        name: str = "site.lab.example.org",
        tree: Path | None = None,
        sections: Mapping[str, Mapping[str, object]] | None = None,
        **options: object,
    ) -> None:
        """`upstream` is a URL, none for an owner; `options` are further keys of `[archives.debian]`.

        `tree` is where the archive is, if not below the directory; `sections` are further ones, by name.
        `retries` is 0 by default, so that no test or demo waits between connections.
        """
        self.directory = directory
        self.tree = tree or directory / "tree"
        self.etc = directory / "etc"
        self.state = directory / "state"
        self.name = name
        self.etc.mkdir(parents=True)
        self._sections = {name: dict(keys) for name, keys in (sections or {}).items()}
        own = {"path": str(self.tree), "upstream": upstream, "retries": 0}
        self._options: dict[str, object] = {**own, **options}
        if password is not None:
            self.set_password(password)
        self.configure()

    def set_password(self, password: str) -> None:
        """Write the password for upstream's rsync module into the site's files."""
        file = self.etc / "upstream.secret"
        file.touch(mode=0o600)
        file.write_text(f"{password}\n")
        self._options["password_file"] = str(file)

    def configure(self, **options: object) -> None:
        """Change keys of `[archives.debian]` (None takes one away) and write the configuration."""
        self._options = {
            key: value for key, value in {**self._options, **options}.items() if value is not None
        }
        document = {
            "mirror": {"name": self.name},
            "archives": {ARCHIVE: self._options},
            "state": {"directory": str(self.state)},
            **self._sections,
        }
        write_atomically(self.etc / "pushmirror.toml", tomlkit.dumps(document).encode(), durable=False)

    def configure_section(self, name: str, **keys: object) -> None:
        """Change keys of another section, such as `[serve]`, and write the configuration."""
        self._sections[name] = {**self._sections.get(name, {}), **keys}
        self.configure()

    def argv(self, *words: str) -> list[str]:
        """The command line that runs `pushmirror WORDS` as this site."""
        return [sys.executable, "-m", "pushmirror", "--config", str(self.etc), *words]

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, timeout_s: float = _LIMIT_S
    ) -> process.Result:
        """Run `pushmirror WORDS` to its end."""
        return process.run(self.argv(*words), env=env, timeout_s=timeout_s)

    def sync(self, *words: str) -> process.Result:
        """Run one sync of the archive."""
        return self.run("sync", ARCHIVE, *words)

    @contextmanager
    def running(self, *words: str, env: Mapping[str, str] | None = None) -> Iterator[process.Background]:
        """Run `pushmirror WORDS` in the background; it is ended with the block."""
        with process.background(self.argv(*words), env=env, log=self.directory / "output.log") as child:
            yield child

    def json(self, *words: str) -> Any:
        """What `pushmirror WORDS --json` prints."""
        lines: list[bytes] = []
        process.run(self.argv(*words, "--json"), on_line=lines.append, timeout_s=_LIMIT_S).check()
        return json.loads(b"\n".join(lines))
