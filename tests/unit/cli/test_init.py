from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pushmirror.cli import main as cli
from pushmirror.cli.first_config import Answers, render
from pushmirror.cli.init import _answers, _asked, _Given
from pushmirror.config.toml import load
from pushmirror.errors import Exit


@pytest.fixture
def init(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_unwind_on_signals", lambda: None)
    places = ["--key", f"{tmp_path}/ssh/key", "--state", f"{tmp_path}/state"]

    def init(*argv):
        code = cli.main(["--config", f"{tmp_path}/etc", "init", *places, *argv])
        return code, *capsys.readouterr()

    return init


WHAT = ("--yes", "--archive", "debian", "--path", "/srv/debian", "--mirror-name", "m.example.org")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_init_writes_can_be_loaded(init, tmp_path):
    assert init(*WHAT, "--upstream", "rsync://hub.example.org/debian", "--user", "site1")[0] == 0
    config = load(tmp_path / "etc")
    assert str(config.archives["debian"].upstream) == "rsync://site1@hub.example.org/debian"
    assert (config.mirror.name, config.state.directory) == ("m.example.org", tmp_path / "state")
    assert config.push.key == tmp_path / "ssh/key"


def test_an_archives_name_may_have_a_dot(init, tmp_path):
    init(*WHAT, "--archive", "debian.ports")
    assert "debian.ports" in load(tmp_path / "etc").archives


def test_everything_has_the_right_mode_whatever_the_umask(init, tmp_path):
    before = os.umask(0)
    try:
        init(*WHAT, "--upstream", "rsync://u@h/m", "--password-file", f"{tmp_path}/etc/secret")
    finally:
        os.umask(before)
    modes = {path: mode(tmp_path / path) for path in ("etc", "etc/sites.d", "state", "etc/secret", "ssh/key")}
    assert modes == {
        "etc": 0o755,
        "etc/sites.d": 0o755,
        "state": 0o750,
        "etc/secret": 0o600,
        "ssh/key": 0o600,
    }


def test_what_is_there_is_kept(init, tmp_path):
    init(*WHAT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, _ = init(*WHAT, "--archive", "other")
    assert code == 0 and [line[:7] for line in out.splitlines()[:6]] == ["kept   "] * 5 + [""]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_password_file_that_is_there_is_kept(init, tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    _, out, _ = init(*WHAT, "--upstream", "rsync://u@h/m", "--password-file", f"{tmp_path}/secret")
    assert (tmp_path / "secret").read_text() == "hunter2\n" and "hunter2" not in out


def test_an_empty_password_file_is_the_first_thing_to_do(init, tmp_path):
    _, out, _ = init(*WHAT, "--upstream", "rsync://u@h/m", "--password-file", f"{tmp_path}/secret")
    assert f"1. write the password for upstream into {tmp_path}/secret" in out


def test_the_line_for_the_hubs_key_lets_it_do_one_thing_from_one_place(init, tmp_path):
    _, out, _ = init(*WHAT, "--json")
    line = json.loads(out)["authorized_keys"]
    assert line.startswith('restrict,from="HUB-ADDRESS",command="')
    assert line.endswith(f'--config {tmp_path}/etc/pushmirror.toml receive" HUB-PUBLIC-KEY')


def test_the_public_key_is_told(init):
    _, out, _ = init(*WHAT, "--json")
    assert json.loads(out)["public_key"].startswith("ssh-ed25519 ")


def test_on_a_terminal_only_what_was_not_given_is_asked(monkeypatch):
    answers = {"Name of the archive": "debian", "Login at upstream (empty: none)": "site1"}
    monkeypatch.setattr("click.prompt", lambda question, *_, **__: answers.pop(question))
    given = _Given(None, Path("/srv/debian"), "rsync://hub/debian", None, None, "m.example.org")
    assert _answers(_asked(given), None, None).upstream == "rsync://site1@hub/debian"
    assert answers == {}


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("--yes",), Exit.USAGE, "init needs --archive and --path"),
        ((*WHAT, "--upstream", "http://h/"), Exit.CONFIG, "archives.debian.upstream: expected a URL"),
        ((*WHAT, "--upstream", "x", "--user", "u"), Exit.USAGE, "--upstream: expected a URL"),
        ((*WHAT, "--mirror-name", "a/b"), Exit.CONFIG, "mirror.name: expected letters"),
        ((*WHAT, "--archive", "a]\nb"), Exit.CONFIG, "expected letters"),
    ],
)
def test_a_wrong_answer_writes_nothing(init, tmp_path, argv, code, said):
    found, _, err = init(*argv)
    assert found == code and said in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_commented_out_is_what_the_model_says(tmp_path):
    text = render(Answers("m", "debian", Path("/srv/debian"), None, None, None, None))
    examples = [line.removeprefix("# ") for line in text.splitlines()]
    known = [line for line in examples if " = " in line or line.startswith("[")]
    known = [
        line for line in known if not line.startswith(("password_file", "exclude_arch", "  ", "keyring"))
    ]
    (tmp_path / "pushmirror.toml").write_text("\n".join(known))
    assert load(tmp_path).archives["debian"].delete.max_files == 40_000
