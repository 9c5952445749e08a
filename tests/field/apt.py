"""Apt as the judge of a tree: `apt-get update` and `apt-get download` over HTTP, in a root of its own.

Nothing of the system's apt is read or written. One root and one server are enough for many trees, one after
the other.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from pushmirror.lab.services import HOST
from pushmirror.system import process

_CONFIG = """\
Dir "{root}";
Dir::State::status "{root}/status";
APT::Sandbox::User "root";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
Acquire::Languages {{ "en"; }};
Acquire::Retries "0";
Acquire::http::Pipeline-Depth "0";
Debug::NoLocking "true";
"""
_DIRECTORIES = ("etc/apt/preferences.d", "etc/apt/apt.conf.d", "var/cache/apt/archives/partial", "downloads")

Source = tuple[Path, str]  # a tree, and a line of sources.list from behind the address


@dataclass(frozen=True)
class Verdict:
    """What apt made of a source."""

    problem: str  # empty: it took it all
    packages: dict[str, bytes]  # what was downloaded: the name of the file -> its content

    def __bool__(self) -> bool:
        return not self.problem


@dataclass
class _Readings:
    """What apt made of trees, by the responses that it got.

    What apt asks for next depends on nothing but the responses before, so that a tree for which they would
    all be the same needs no apt. For trees that do not change while they are read.
    """

    asked: set[Path] = field(default_factory=set)  # since it was cleared
    _known: dict[object, list[tuple[Mapping[tuple[int, Path], object], Verdict]]] = field(
        default_factory=dict
    )

    def known(self, question: object, trees: Sequence[Path]) -> Verdict | None:
        """The verdict on a question, if all that decided it is the same in these trees."""
        for responses, verdict in self._known.get(question, []):
            if all(_response(trees[n] / path) == response for (n, path), response in responses.items()):
                return verdict
        return None

    def learn(self, question: object, trees: Sequence[Path], verdict: Verdict) -> None:
        """Keep a verdict with the responses that led to it."""
        responses = {}
        for path in self.asked:
            inside = [n for n, tree in enumerate(trees) if path.is_relative_to(tree)]
            n = max(inside, key=lambda n: len(trees[n].parts))
            responses[n, path.relative_to(trees[n])] = _response(path)
        self._known.setdefault(question, []).append((responses, verdict))


def _response(path: Path) -> object:
    """What tells the server's response to a request for a file from any other."""
    try:
        return hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
    except IsADirectoryError:
        return sorted(inside.name for inside in path.iterdir())
    except OSError as exc:
        return exc.errno


class Apt:
    """A root below `directory`, and the address of a server whose top is `served`."""

    def __init__(self, directory: Path, served: Path, url: str, readings: _Readings | None = None) -> None:
        self._root, self._served, self._url = directory, served, url
        self._readings = readings
        for name in _DIRECTORIES:
            (directory / name).mkdir(parents=True)
        (directory / "status").touch()
        (directory / "apt.conf").write_text(_CONFIG.format(root=directory))

    def reads(
        self, *sources: Source, packages: Sequence[str], keyring: Path | None, by_hash: str = ""
    ) -> Verdict:
        """Update from sources, then download packages of them; `by_hash` is yes, no or force."""
        options = f"signed-by={keyring}" if keyring else "trusted=yes"
        options += f" by-hash={by_hash}" if by_hash else ""
        if self._readings is None:
            return self._read(sources, packages, options)
        trees, lines = zip(*sources, strict=True)
        question = lines, tuple(packages), options, keyring and keyring.read_bytes()
        verdict = self._readings.known(question, trees)
        if verdict is None:
            self._readings.asked.clear()
            verdict = self._read(sources, packages, options)
            self._readings.learn(question, trees, verdict)
        return verdict

    def _read(self, sources: Sequence[Source], packages: Sequence[str], options: str) -> Verdict:
        lists, downloads = self._root / "var/lib/apt/lists", self._root / "downloads"
        for directory in (lists, downloads):
            shutil.rmtree(directory, ignore_errors=True)
        (lists / "partial").mkdir(parents=True)
        downloads.mkdir()
        lines = [f"deb [{options}] {self._address(tree)} {line}\n" for tree, line in sources]
        (self._root / "etc/apt/sources.list").write_text("".join(lines))
        problem = self._get("update", "--error-on=any")
        if not problem and packages:
            problem = self._get("download", *packages)
        return Verdict(problem, {path.name: path.read_bytes() for path in downloads.iterdir()})

    def _address(self, tree: Path) -> str:
        return f"{self._url}/{quote(str(tree.relative_to(self._served)))}"

    def _get(self, *words: str) -> str:
        """What went wrong."""
        env = {"APT_CONFIG": str(self._root / "apt.conf"), "LC_ALL": "C"}
        argv = ["apt-get", "-q", "-q", *words]
        result = process.run(argv, env=env, cwd=self._root / "downloads", timeout_s=60)
        lines = [line for line in result.errors.splitlines() if line.startswith(("E:", "W:"))]
        return "" if result.exit_code == 0 else f"apt-get {words[0]}: {' / '.join(lines[:3])}"


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # apt asks for several files by one connection
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.add(Path(self.translate_path(self.path)))
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the library
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    asked: set[Path]

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: apt has closed a connection."""


@contextmanager
def judging(directory: Path, served: Path, *, remembers: bool = False) -> Iterator[Apt]:
    """An apt that can read what is below `served`.

    One that `remembers` is for trees that do not change while they are read, and is not for several threads.
    """
    readings = _Readings()
    with _Server((HOST, 0), partial(_Handler, directory=str(served))) as server:
        server.asked = readings.asked
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            url = f"http://{HOST}:{server.server_port}"
            yield Apt(directory, served, url, readings if remembers else None)
        finally:
            server.shutdown()
            thread.join()
