"""apt itself reads the lab's archive over HTTP, in both layouts."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.system import process
from support.published import pool_files_of


class _Handler(SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *_: object) -> None:
        self.asked.append(self.path)


@contextmanager
def served(tree: Path) -> Iterator[tuple[str, list[str]]]:
    """The tree's address while it is served, and the paths that were asked for."""
    handler = type("Handler", (_Handler,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tree)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", handler.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Apt:
    """A system of its own, below a directory."""

    def __init__(self, directory: Path, keyring: Path, url: str, suites: list[str]) -> None:
        (directory / "lists/partial").mkdir(parents=True)
        options = f"[signed-by={keyring} arch=amd64]"
        lines = [
            f"{kind} {options} {url} {name} main contrib\n" for kind in ("deb", "deb-src") for name in suites
        ]
        (directory / "sources.list").write_text("".join(lines))
        (directory / "status").touch()
        settings = {
            "Dir::Etc::sourcelist": directory / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": directory / "lists",
            "Dir::State::status": directory / "status",
            "Dir::Cache": directory / "cache",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::http::Proxy": "false",
        }
        self._options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def update(self) -> process.Result:
        return process.run(["apt-get", *self._options, "-q", "update"], timeout_s=60)

    def packages(self) -> set[str]:
        """All that it knows of."""
        names = process.run(["apt-cache", *self._options, "pkgnames"], timeout_s=60).check()
        return set(names.output.decode().split())


@pytest.mark.parametrize("layout", Layout)
def test_apt_updates_by_hash_from_each_suite_by_any_name(tmp_path: Path, layout: Layout) -> None:
    archive = LabArchive.create(tmp_path / "archive", packages=20, layout=layout)
    with served(archive.path) as (url, asked):
        apt = Apt(tmp_path / "apt", archive.keyring, url, ["stable", "sid", "wheezy", "proposed-updates"])
        apt.update().check()
        archive.update()
        apt.update().check()
    indices = [path for path in asked if "/main/binary-amd64/" in path and ".diff" not in path]
    assert {path.split("/")[-3] for path in indices if "/wheezy/" not in path} == {"by-hash"}
    assert any("/sid/main/binary-amd64/Packages.diff/by-hash/" in path for path in asked)
    assert apt.packages() >= {package.split("/")[-2] for package in pool_files_of(archive, "sid")}
