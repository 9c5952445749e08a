"""Three mirrors as they are found in the field: imported, then run, pushed and serving as before.

Also what the real scripts do with the same files: the same selection, the same trace, the same triggers.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from downstream import SitesSshd
from offering import open_directory
from pushmirror.access import daemon_files as access
from pushmirror.config import loader
from pushmirror.config.model import Config, PushKind
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.services import HOST, Service, free_port, new_key, wait_until
from pushmirror.push.trigger import without_generation, words_to
from pushmirror.state.records import Stage
from pushmirror.system import process
from pushmirror.tree.published_state import read_published
from support.rsync_daemon import RsyncDaemon

SETS = Path(__file__).parents[1] / "data/import"
PASSWORDS = {
    "ftp.xx.example.org": 'six o"clock $wan & co',
    "syncproxy": "upstream-secret",
    "pod.example.net": "from-the-orchestrator",
}
_PLACE = re.compile(r"@([A-Z0-9_]+)@")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RsyncDaemon]:
    """An upstream with three archives of one content."""
    directory = tmp_path_factory.mktemp("upstream")
    archive = LabArchive.create(directory / "archive", packages=6)
    (archive.path / "local").mkdir()
    (archive.path / "local/only.torrent").write_text("not for mirrors")
    with RsyncDaemon(directory / "rsyncd") as running:
        running.add_module("debian", archive.path, PASSWORDS)
        running.add_module("debian-security", archive.path, PASSWORDS | {"ftp.xx.example.org": "another one"})
        running.add_module("debian-ports", archive.path)
        yield running


class Mirror:
    """A mirror's machine: files as an operator has them, and pushmirror on it."""

    def __init__(self, kind: str, base: Path, **values: object) -> None:
        self.base, self.etc = base, base / "pushmirror"
        shutil.copytree(SETS / kind, base, dirs_exist_ok=True)
        for parent in ("mirrors", "data"):
            (base / parent).mkdir(exist_ok=True)
        told = {"BASE": base, "SERVE_PORT": free_port(), **values}
        for file in base.rglob("*"):
            if file.is_file():
                text = _PLACE.sub(lambda found: str(told[found[1]]), file.read_text())
                file.write_text(text)

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> process.Result:
        argv = [sys.executable, "-m", "pushmirror", "--config", str(self.etc), *words]
        return process.run(argv, env={"HOME": str(self.base), **(env or {})}, timeout_s=60)

    def imported(self, *words: str, env: Mapping[str, str] | None = None) -> process.Result:
        result = self.run("import", "--state", f"{self.base}/state", *words, env=env)
        result.check()
        return result

    @property
    def config(self) -> Config:
        return loader.load(self.etc)

    def tree(self, archive: str) -> Path:
        return self.config.archives[archive].path

    def generation(self, archive: str) -> str:
        """What it serves."""
        return read_published(self.tree(archive)).generation


class Serving(Service):
    """The rsync daemon of an imported configuration."""

    greeting = b"@RSYNCD:"

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(mirror.base / "serving")
        self.config = mirror.config
        self.port = int(self.config.serve.rsync.rpartition(":")[2])

    def _argv(self) -> list[str]:
        access.update(self.config)
        return access.rsync_argv(self.config)

    def read(self, module: str, user: str = "", password: str = "") -> process.Result:
        """What a site gets of a module's list."""
        url = f"rsync://{f'{user}@' if user else ''}{HOST}:{self.port}/{module}/dists/"
        return process.run(["rsync", url], env={"RSYNC_PASSWORD": password}, timeout_s=60)


@pytest.fixture
def base() -> Iterator[Path]:
    """Where also the rsync daemon's user may read."""
    with open_directory() as directory:
        yield directory


class Woken:
    """Sites behind one key: what they are sent, with the address that each is reached by."""

    def __init__(self, directory: Path, sshd: SitesSshd) -> None:
        self.key, self.log = directory / "ssh/key", directory / "woken"
        self.key.parent.mkdir(exist_ok=True)
        self.sshd = sshd
        said = f'set -- $SSH_CONNECTION; echo "$3|$SSH_ORIGINAL_COMMAND" >>{shlex.quote(str(self.log))}'
        sshd.authorize(new_key(self.key), command=said)

    @property
    def places(self) -> dict[str, object]:
        hosts = {"SSH_HOST": HOST, "SSH_HOST2": "127.0.0.2", "SSH_HOST3": "127.0.0.3"}
        return {**hosts, "SSH_PORT": self.sshd.port, "SSH_USER": self.sshd.user}

    @property
    def triggers(self) -> list[str]:
        """The words that runmirrors sends, too."""
        return [without_generation(line) for line in self._lines]

    @property
    def generations(self) -> set[str]:
        """What all of them name besides."""
        return {line.partition(" sync:generation:")[2].partition(" ")[0] for line in self._lines}

    @property
    def _lines(self) -> list[str]:
        return self.log.read_text().splitlines()


def same_content(one: Path, other: Path) -> bool:
    names = ("dists/sid/InRelease", "dists/sid/Release", "project/trace/master")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


# -- the three sets -----------------------------------------------------------------------------------


def test_a_country_mirror_goes_on_with_three_archives_and_its_pusher(base, upstream):
    mirror = Mirror("country", base, HOST=HOST, PORT=upstream.port)
    told = mirror.imported(str(base)).output.decode()
    assert {*mirror.config.archives} == {"debian", "security", "ports"}
    for archive in ("debian", "ports"):
        mirror.run("sync", archive).check()
    assert (mirror.tree("debian") / "dists/sid/InRelease").exists()
    assert not (mirror.tree("debian") / "local").exists()
    line = next(line for line in told.splitlines() if "-T sec" in line)
    command = line.partition('command="')[2].partition('" ssh-')[0].replace('\\"', '"')
    called = re.sub(r"^\S*pushmirror", f"{sys.executable} -m pushmirror", command)
    env = {"HOME": str(base), "SSH_ORIGINAL_COMMAND": " sync:archive: sync:all"}
    process.run(["sh", "-c", called], env=env, timeout_s=60).check()
    trace = (mirror.tree("security") / "project/trace/ftp.xx.example.org").read_text()
    assert "Trigger: sec\n" in trace and "Country: DE\n" in trace
    with Serving(mirror) as serving:
        for module in ("debian", "debian-security", "debian-ports"):
            assert b"sid" in serving.read(module).output


def test_a_syncproxy_goes_on_with_45_sites(base, upstream, sites_sshd):
    woken = Woken(base, sites_sshd)
    mirror = Mirror("syncproxy", base, HOST=HOST, PORT=upstream.port, **woken.places)
    for secrets in base.glob("etc/rsyncd/*.secrets"):
        secrets.chmod(0o600)
    (base / "mirrors/tools/dists/sid").mkdir(parents=True)
    mirror.imported(str(base / "etc"))
    for file in mirror.etc.glob("sites.d/*.toml"):
        if not file.name.startswith("live"):
            file.write_text(f"{file.read_text()}paused = true\n")
    for archive in ("debian", "security"):
        mirror.run("sync", archive, "--no-push").check()
        mirror.run("push", archive).check()
    assert woken.generations == {mirror.generation("debian"), mirror.generation("security")}
    stage1 = {"127.0.0.1| sync:archive: sync:stage1", "127.0.0.2| sync:archive: sync:mhop sync:stage1"}
    stage2 = {one.replace("stage1", "stage2") for one in stage1}
    staged = [one for one in woken.triggers if "sync:all" not in one]
    assert ({*staged[:2]}, {*staged[2:]}) == (stage1, stage2)
    assert [one for one in woken.triggers if "sync:all" in one] == [
        "127.0.0.3| sync:archive: sync:all",
        "127.0.0.3| sync:archive:security sync:all",
    ]
    with Serving(mirror) as serving:
        users = dict(users_of(base / "etc/rsyncd/debian.secrets"))
        assert len(users) == 45
        for user in ("live-staged", "site07.example.org", "site08.example.org", "site45.example.org"):
            assert b"sid" in serving.read("debian", user, users[user]).output
        assert (
            b"sid"
            in serving.read("debian-security", "site12.example.org", users["site12.example.org"]).output
        )
        assert b"sid" in serving.read("debian-security", "cd-image.example.org", "only reads").output
        assert b"sid" in serving.read("tools").output
        for module, user in (("debian", "cd-image.example.org"), ("debian-security", "site45.example.org")):
            assert "auth failed" in serving.read(module, user, users.get(user, "only reads")).errors
        assert (
            "auth failed" in serving.read("debian", "site07.example.org", users["site08.example.org"]).errors
        )


def users_of(file: Path) -> Iterator[tuple[str, str]]:
    for line in file.read_text().splitlines():
        user, colon, password = line.partition(":")
        if colon:
            yield user, password


def test_a_container_goes_on_with_nothing_but_its_variables(base, upstream, sites_sshd):
    woken = Woken(base, sites_sshd)
    mirror = Mirror("container", base, HOST=HOST, PORT=upstream.port, **woken.places)
    variables = dict(line.split("=", 1) for line in (base / "environment").read_text().splitlines())
    mirror.imported("--environment", env=variables)
    with (mirror.etc / "pushmirror.toml").open("a") as file:
        file.write(f'\n[serve]\nrsync = "{HOST}:{free_port()}"\n')
    mirror.run("sync", "--no-push").check()
    assert not any("arm64" in path.name for path in mirror.tree("debian").rglob("*"))
    mirror.run("push").check()
    assert woken.triggers == ["127.0.0.1| sync:archive: sync:all"]
    assert woken.generations == {mirror.generation("debian")}
    mirror.run("site", "rotate", "below").check()
    login = access.logins(mirror.config)["below"][-1]
    with Serving(mirror) as serving:
        assert b"sid" in serving.read("debian", login.user, login.password).output


# -- beside the real scripts --------------------------------------------------------------------------


def real(script: str, home: Path, *words: str, **env: str) -> list[str]:
    """The command line of Debian's own script, with this home."""
    found = {"HOME": str(home), "LOGNAME": "m", "PATH": os.environ["PATH"], **env}
    variables = (f"{name}={value}" for name, value in found.items())
    return ["/usr/bin/env", "-i", *variables, f"/usr/bin/{script}", *words]


SELECTIONS = {
    "architectures": "ARCH_INCLUDE='amd64 source'",
    "all but some": "ARCH_EXCLUDE='amd64 source'\nEXCLUDE=--exclude=*.torrent",
    "names": "EXCLUDE='--exclude=/local/ --exclude=*.dsc --include=/pool/main/** --exclude=ls-lR*'\n"
    "RSYNC_EXTRA+=' --exclude=/indices/'",
}
_OF_THE_RUN = re.compile(
    r"^(Date|Used ftpsync|Creator|Trigger|Total|Average|Generation|Strategy)|^\w{3} \w{3} "
)


@pytest.mark.parametrize("lines", SELECTIONS.values(), ids=SELECTIONS.keys())
def test_the_selection_and_the_trace_are_those_of_the_real_ftpsync(tmp_path, upstream, lines):
    etc = tmp_path / ".config/ftpsync"
    etc.mkdir(parents=True)
    tree, theirs = tmp_path / "tree", tmp_path / "theirs"
    (etc / "ftpsync.conf").write_text(
        f"MIRRORNAME=m.example.org\nTO={tree}/\nRSYNC_HOST={HOST}\nRSYNC_USER=syncproxy\n"
        f"RSYNC_PASSWORD=upstream-secret\nRSYNC_EXTRA=--port={upstream.port}\nINFO_COUNTRY=DE\n"
        f"INFO_MAINTAINER='A B <a@b>'\nTRACEHOST=trace.example.org\n{lines}\n"
    )
    tree.mkdir()
    process.run(real("ftpsync", tmp_path), timeout_s=60).check()
    tree.rename(theirs)
    mirror = Mirror("container", tmp_path / "ours", HOST="", PORT="", SSH_HOST="", SSH_PORT="", SSH_USER="")
    mirror.imported(str(etc))
    mirror.run("sync").check()
    assert (names(tree), trace(tree)) == (names(theirs), trace(theirs))


def names(tree: Path) -> list[str]:
    """What is mirrored, less what each script keeps for itself."""
    found = (str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir())
    return sorted(one for one in found if not one.startswith((".~tmp~", "project/trace/_")))


def trace(tree: Path) -> list[str]:
    """What the mirror says of itself, less what differs from run to run."""
    lines = (tree / "project/trace/m.example.org").read_text().splitlines()
    return [line for line in lines if not _OF_THE_RUN.search(line)]


RECORDING = """\
#!/bin/sh
for word; do printf '%s\\t' "$word"; done >"{log}-part.$$"
mv "{log}-part.$$" "{log}.$$"
"""


def test_the_triggers_are_those_of_the_real_runmirrors(tmp_path):
    places = {
        "SSH_HOST": "live1",
        "SSH_HOST2": "live2",
        "SSH_HOST3": "live3",
        "SSH_PORT": 22,
        "SSH_USER": "m",
    }
    mirror = Mirror("syncproxy", tmp_path, HOST=HOST, PORT=1, **places)
    (tmp_path / "ssh").mkdir()
    new_key(tmp_path / "ssh/key")
    (tmp_path / ".config").mkdir()
    (tmp_path / "etc/ftpsync").rename(tmp_path / ".config/ftpsync")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"ssh": RECORDING.format(log=tmp_path / "ssh-call"), "sleep": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    mirror.imported(str(tmp_path))
    ours, log = of_ours(mirror.config, "debian", "security"), tmp_path / "runmirrors.log"
    of_debian = of_ours(mirror.config, "debian")
    for words, expected in ([], of_debian), (["security"], ours):
        argv = real("runmirrors", tmp_path, *words, PATH=path, BASEDIR=str(tmp_path))
        with process.background(argv, log=log):  # it does not wait for those that it has started
            assert wait_until(lambda: len(of_runmirrors(tmp_path)) >= len(expected))  # noqa: B023  used at once
    assert ours == of_runmirrors(tmp_path)


def of_runmirrors(directory: Path) -> list[tuple[str, str, str]]:
    """Host, account and words of every trigger that was sent."""
    calls = [file.read_text().rstrip("\t\n").split("\t") for file in directory.glob("ssh-call.*")]
    user = re.compile(r"user=(.*)")
    return sorted(
        (call[1], next(found[1] for word in call if (found := user.fullmatch(word))), call[-1])
        for call in calls
    )


def of_ours(config: Config, *archives: str) -> list[tuple[str, str, str]]:
    return sorted(
        (site.host, site.user, words_to(site, archive, stage))
        for archive in archives
        for site in config.sites_of(archive)
        for stage in ((Stage.ALL,) if site.push is PushKind.ALL else (Stage.STAGE1, Stage.STAGE2))
    )
