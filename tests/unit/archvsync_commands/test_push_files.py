"""The files of a call of runmirrors, and what of them is like the ftpsync's beside it."""

from pathlib import Path

import pytest

from pushmirror.archvsync_commands import runmirrors_sites
from pushmirror.archvsync_commands.runmirrors_args import RunmirrorsArgs
from pushmirror.archvsync_commands.runmirrors_push import PushRun
from pushmirror.archvsync_commands.runmirrors_sites import PushMode
from pushmirror.errors import ConfigError


class Home:
    """A home with these files in its ~/.config/ftpsync."""

    def __init__(self, directory: Path) -> None:
        self.etc = directory / ".config/ftpsync"
        self.etc.mkdir(parents=True)
        self.environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin", "LOGNAME": "mirror"}

    def write(self, name: str, text: str) -> None:
        (self.etc / name).write_text(text)

    def call(self, archive_option: str = "", kind: str = "") -> RunmirrorsArgs:
        name = f"runmirrors-{archive_option}" if archive_option else "runmirrors"
        return RunmirrorsArgs("/nowhere/bin/runmirrors", name, archive_option, kind, from_ftpsync=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_what_the_configuration_exports_and_sets_of_path_is_for_ssh_and_hooks(home: Home) -> None:
    home.write("runmirrors.conf", "PATH=$HOME/wrap:$PATH\nexport SSH_AUTH_SOCK=/agent FOO=1\nOWN=2\n")
    run = PushRun.read(home.call(), home.environment, archive="debian", state=home.etc / "state")
    told = {"PATH": f"{home.environment['HOME']}/wrap:/usr/bin:/bin", "SSH_AUTH_SOCK": "/agent", "FOO": "1"}
    assert run.sites.for_programs == told


@pytest.mark.parametrize(
    ("option", "environment", "conf", "wanted"),
    [
        ("", "", "", "mhop"),
        ("", "all", "", "all"),
        ("", "all", "PUSHKIND=stage2", "stage2"),
        ("", "", 'PUSHKIND="${PUSHKIND}x"', "mhopx"),
        ("mhop", "all", "PUSHKIND=stage2", "mhop"),
    ],
)
def test_pushkind_is_the_kind_of_a_call_that_names_none(
    home: Home, option: str, environment: str, conf: str, wanted: str
) -> None:
    home.write("runmirrors.conf", conf)
    surroundings = {**home.environment, "PUSHKIND": environment}
    run = PushRun.read(home.call(kind=option), surroundings, archive="debian", state=home.etc / "state")
    assert run.course == PushMode(wanted)


@pytest.mark.parametrize(
    "text",
    [
        "TO=/srv/mirrors/ubuntu/\n",
        "LOG=${LOGDIR}/x${VERSION}${ARCHIVE}${SYNCALL}\nTO=/srv/ubuntu\n",
        'if [ -n "$ARCHIVE" ]; then TO=/srv/$ARCHIVE; else TO=/srv/ubuntu; fi\n',
    ],
)
def test_an_archive_is_the_ftpsyncs_beside_it_whatever_its_file_refers_to(home: Home, text: str) -> None:
    home.write("ftpsync.conf", text)
    assert runmirrors_sites.archive_of(home.call(), home.environment) == "ubuntu"


def test_an_ftpsync_that_cannot_run_keeps_nobody_from_pushing_and_is_told_of(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("ftpsync-bpo.conf", "TO=$NOT_SET\n")
    assert runmirrors_sites.archive_of(home.call("bpo"), home.environment) == "bpo"
    assert "NOT_SET" in capsys.readouterr().err


def test_without_a_configuration_nobody_is_pushed(home: Home) -> None:
    with pytest.raises(ConfigError, match=r"runmirrors\.conf is in none of"):
        runmirrors_sites.read(home.call(), home.environment)
