"""Which configuration a call of ftpsync means, and what it may refer to."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pushmirror.archvsync_commands.ftpsync_config import FtpsyncCall, asked, configured
from pushmirror.errors import ConfigError
from pushmirror.system import process


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(process, "BASE_ENVIRONMENT", {**process.BASE_ENVIRONMENT})
    monkeypatch.setenv("PUSHMIRROR_STATE", str(tmp_path / "state"))


def call(home: Path, file: str, text: str, *words: str, **environment: str) -> FtpsyncCall:
    (home / file).parent.mkdir(parents=True, exist_ok=True)
    (home / file).write_text(f"RSYNC_HOST=up.example.org\nMIRRORNAME=m.example.org\n{text}")
    surroundings: Mapping[str, str] = {"HOME": str(home), "PATH": "/usr/bin:/bin", **environment}
    return configured(f"{home}/bin/ftpsync", asked(words, None, {}), surroundings)


def test_a_tarballs_configuration_may_refer_to_basedir(tmp_path: Path) -> None:
    found = call(tmp_path, "etc/ftpsync.conf", 'LOGDIR="${BASEDIR}/log2"\nTO=${BASEDIR}/tree\n')
    assert found.ftpsync.logs.directory == tmp_path / "log2"
    assert found.ftpsync.archive.path == tmp_path / "tree"


def test_a_packages_configuration_has_no_basedir_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BASEDIR"):
        call(tmp_path, ".config/ftpsync/ftpsync.conf", "TO=${BASEDIR}/tree\n")


@pytest.mark.parametrize("text", ["", "LOG=${LOGDIR}/${NAME}.log\n"])
def test_no_name_that_is_told_through_ssh_makes_directories_of_logs(tmp_path: Path, text: str) -> None:
    file = ".config/ftpsync/ftpsync-.._debian_security.conf"
    found = call(tmp_path, file, text, "sync:archive:../debian/security")
    assert found.ftpsync.name == "ftpsync-.._debian_security"
    assert found.ftpsync.logs.file == found.ftpsync.logs.directory / "ftpsync-.._debian_security.log"


def test_what_the_configuration_exports_is_for_programs_but_no_password(tmp_path: Path) -> None:
    text = "export SSH_AUTH_SOCK=/agent FOO=1 RSYNC_PASSWORD=hidden\nPATH=/wrap:$PATH\n"
    call(tmp_path, "etc/ftpsync.conf", text, RSYNC_PASSWORD="before")
    told = {name: process.BASE_ENVIRONMENT.get(name) for name in ("PATH", "SSH_AUTH_SOCK")}
    assert told == {"PATH": "/wrap:/usr/bin:/bin", "SSH_AUTH_SOCK": "/agent"}
    assert os.environ["FOO"] == "1" and "RSYNC_PASSWORD" not in os.environ
