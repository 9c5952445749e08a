from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from pushmirror.cli import init_prompts
from pushmirror.cli import main as cli
from pushmirror.cli.init_prompts import InitOptions, answers, asked
from pushmirror.cli.init_template import InitAnswers, render
from pushmirror.config.loader import load
from pushmirror.config.model import DEBIAN_KEYRING, Strategy
from pushmirror.errors import Exit


@pytest.fixture
def init(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    places = ["--key", f"{tmp_path}/ssh/key", "--state", f"{tmp_path}/state", "--path", f"{tmp_path}/tree"]

    def init(*argv):
        code = cli.main(["--config", f"{tmp_path}/etc", "init", *places, *argv])
        return code, *capsys.readouterr()

    return init


WHAT = ("--yes", "--archive", "debian", "--mirror-name", "m.example.org")
HUB = ("--upstream", "rsync://u@hub.example.org/debian")


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
    paths = ("etc", "etc/sites.d", "state", "etc/secret", "ssh/key", "tree")
    modes = {path: mode(tmp_path / path) for path in paths}
    assert modes == {
        "etc": 0o755,
        "etc/sites.d": 0o755,
        "state": 0o750,
        "etc/secret": 0o600,
        "ssh/key": 0o600,
        "tree": 0o755,
    }


def test_what_is_there_is_kept(init, tmp_path):
    init(*WHAT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, _ = init(*WHAT)
    assert code == 0 and [line[:7] for line in out.splitlines()[:7]] == ["kept   "] * 6 + [""]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_password_file_that_is_there_is_kept(init, tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    _, out, _ = init(*WHAT, "--upstream", "rsync://u@h/m", "--password-file", f"{tmp_path}/secret")
    assert (tmp_path / "secret").read_text() == "hunter2\n" and "hunter2" not in out


def test_an_empty_password_file_is_the_first_thing_to_do(init, tmp_path):
    _, out, _ = init(*WHAT, "--upstream", "rsync://u@h/m", "--password-file", f"{tmp_path}/secret")
    assert f"1. write the password for upstream to {tmp_path}/secret" in out


def test_the_line_for_the_hubs_key_lets_it_do_one_thing_from_one_place(init, tmp_path):
    _, out, _ = init(*WHAT, *HUB, "--json")
    line = json.loads(out)["authorized_keys"]
    assert line.startswith('restrict,from="HUB-ADDRESS",command="')
    assert line.endswith(f'--config {tmp_path}/etc/pushmirror.toml receive" HUB-PUBLIC-KEY')


def test_the_public_key_is_told(init):
    _, out, _ = init(*WHAT, "--json")
    assert json.loads(out)["public_key"].startswith("ssh-ed25519 ")


def test_on_a_terminal_only_what_was_not_given_is_asked(monkeypatch):
    told = {
        "Name of the archive": "debian",
        "User name at upstream (empty: none)": "site1",
        "File with the password for upstream": "/etc/secret",
        "Keyring of the archive (-: do not check signatures)": "-",
    }
    monkeypatch.setattr("click.prompt", lambda question, *_, **__: told.pop(question))
    given = InitOptions(path=Path("/srv/debian"), upstream="rsync://hub/debian", mirror_name="m.example.org")
    found = answers(asked(given, Path("/etc")))
    assert (found.upstream, found.keyring) == ("rsync://site1@hub/debian", None)
    assert told == {}


@pytest.fixture
def prompts(monkeypatch):
    """Answers the questions of a terminal in their order, and notes what was asked."""

    def answering(*told):
        questions = []

        def read(question, *_, **__):
            questions.append(question)
            return told[len(questions) - 1]

        monkeypatch.setattr("click.termui.visible_prompt_func", read)
        return questions

    return answering


def test_a_wrong_answer_is_asked_for_again_at_once(prompts):
    questions = prompts("mirror", "m.example.org", "a b", "debian", "tree", "/srv/debian", "http://h", "")
    found = answers(asked(InitOptions(), Path("/etc")))
    assert (found.mirror_name, found.archive, found.upstream) == ("m.example.org", "debian", None)
    assert len(questions) == 8


def test_debians_keyring_is_the_one_to_use_for_an_archive_of_that_name(prompts):
    prompts("/etc/secret", "")
    given = InitOptions("debian", Path("/srv/debian"), "rsync://u@h/debian", mirror_name="m.example.org")
    assert asked(given, Path("/etc")).keyring == Path(DEBIAN_KEYRING)


def test_a_login_that_cannot_be_one_is_asked_for_again(prompts):
    questions = prompts("site 1", "site1", "/etc/secret", "-")
    given = InitOptions("debian", Path("/srv/debian"), "rsync://h/debian", mirror_name="m.example.org")
    assert asked(given, Path("/etc")).user == "site1" and len(questions) == 4


def test_a_password_given_on_a_terminal_is_in_its_file_only(init, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: "hunter2")
    given = ("--password-file", f"{tmp_path}/secret", "--keyring", DEBIAN_KEYRING)
    code, out, err = init(*WHAT[1:], *HUB, *given)
    assert code == 0 and "hunter2" not in out + err
    assert (tmp_path / "secret").read_text() == "hunter2\n" and mode(tmp_path / "secret") == 0o600


def test_ctrl_c_at_the_last_question_leaves_nothing_half_done(init, tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.termui.hidden_prompt_func", interrupt)
    given = ("--password-file", f"{tmp_path}/secret", "--keyring", DEBIAN_KEYRING)
    assert init(*WHAT[1:], *HUB, *given)[0] == Exit.INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_the_section_to_add_is_json_where_json_was_asked_for(init, tmp_path):
    init(*WHAT)
    code, out, _ = init("--archive", "security", "--json")
    assert code == Exit.CONFIG and json.loads(out)["section"].startswith("[archives.security]")


def test_another_archive_is_not_added_but_its_section_is_told(init, tmp_path):
    init(*WHAT)
    before = (tmp_path / "etc/pushmirror.toml").read_bytes()
    code, out, err = init("--archive", "security", "--path", f"{tmp_path}/other", *HUB)
    assert code == Exit.CONFIG and "archive security was not added" in err
    assert (tmp_path / "etc/pushmirror.toml").read_bytes() == before
    (tmp_path / "etc/pushmirror.toml").write_bytes(before + out.encode())
    assert str(load(tmp_path / "etc").archives["security"].upstream) == HUB[1]


def test_another_archive_with_a_wrong_value_is_told_what_is_wrong(init):
    init(*WHAT)
    assert init(*WHAT, "--archive", "security", "--upstream", "http://h")[0] == Exit.CONFIG


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--mirror-name", "n.example.org"), "mirror.name is m.example.org in it, not n.example.org"),
        (("--path", "/srv/x"), "tree in it, not /srv/x; change it in the file"),
        (HUB, "archives.debian.upstream is not set in it"),
        (("--keyring", "/k.gpg"), "archives.debian.keyring is not set in it, not /k.gpg"),
    ],
)
def test_what_the_configuration_says_otherwise_is_not_passed_over(init, argv, said):
    init(*WHAT)
    code, _, err = init(*WHAT, *argv)
    assert code == Exit.CONFIG and said in err


def test_a_password_that_is_still_missing_is_told_again(init, tmp_path):
    secret = ("--password-file", f"{tmp_path}/secret")
    init(*WHAT, *HUB, *secret)
    code, out, _ = init(*WHAT, *HUB, *secret)
    assert code == 0 and f"kept     password file: {tmp_path}/secret" in out
    assert f"1. write the password for upstream to {tmp_path}/secret" in out


def test_a_tree_that_this_user_may_not_make_is_for_root(init, tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        if self.name == "tree":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return mkdir(self, *_, **__)

    mkdir = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", refuse)
    code, out, _ = init(*WHAT)
    assert code == 0 and "tree's directory, as root: install -d -o " in out and f" {tmp_path}/tree\n" in out


def test_the_lines_to_copy_stand_alone(init):
    _, out, _ = init(*WHAT, *HUB)
    lines = out.splitlines()
    assert any(line.startswith("restrict,") for line in lines)
    assert lines[-1].startswith("ssh-ed25519 ") and lines[-3].startswith("Public key of this machine")


def test_an_owner_is_told_how_to_push_and_not_how_to_be_pushed(init):
    _, out, _ = init(*WHAT)
    assert all(f"pushmirror {verb}" in out for verb in ("check", "sync", "site add", "serve"))
    assert "to be pushed" not in out and "HUB-PUBLIC-KEY" not in out and "For later" not in out
    assert out.splitlines()[-1].startswith("ssh-ed25519 ")


def test_every_caller_finds_the_same_state_and_key(init, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("pushmirror.config.model.os.geteuid", lambda: 1000)
    cli.main(["--config", f"{tmp_path}/etc", "init", *WHAT, "--path", f"{tmp_path}/tree"])
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setattr("pushmirror.config.model.os.geteuid", lambda: 0)
    config = load(tmp_path / "etc")
    assert config.state.directory == tmp_path / "home/.local/state/pushmirror"
    assert config.push.key == tmp_path / "home/.ssh/pushmirror"


def test_a_host_without_a_public_name_must_be_given_one(init, tmp_path, monkeypatch):
    monkeypatch.setattr(init_prompts, "own_name", lambda: "localhost")
    code, _, err = init("--yes", "--archive", "debian")
    assert code == Exit.USAGE and "--mirror-name mirror.example.org" in err
    assert list(tmp_path.iterdir()) == []


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


ANSWERS = InitAnswers(
    "m", "debian", Path("/srv/debian"), None, None, None, Path("/home/m/key"), Path("/home/m/state")
)


def test_what_is_commented_out_is_what_the_model_says(tmp_path):
    lines = render(ANSWERS).splitlines()
    known = [line.removeprefix("# default: ").removeprefix("# example: ") for line in lines]
    left_out = ("password_file", "exclude_arch", "keyring")  # they contradict others, or need a file
    (tmp_path / "pushmirror.toml").write_text(
        "\n".join(line for line in known if not line.startswith(left_out))
    )
    assert load(tmp_path).archives["debian"].delete.max_files == 40_000


def test_what_is_called_a_default_changes_nothing(tmp_path):
    text = render(ANSWERS)
    (tmp_path / "pushmirror.toml").write_text(text)
    before = load(tmp_path)
    (tmp_path / "pushmirror.toml").write_text(text.replace("# default: ", ""))
    after = load(tmp_path)
    assert (after.archives, after.push, after.state) == (before.archives, before.push, before.state)


@pytest.mark.parametrize("key", ["strategy", "full_every", "streams", "manifest"])
def test_what_a_push_costs_can_be_set_by_taking_a_comment_away(key):
    (line,) = [line for line in render(ANSWERS).splitlines() if line.startswith(f"# default: {key} = ")]
    assert all(f'"{one}"' in line for one in Strategy) or key != "strategy"


def test_without_a_keyring_the_file_says_what_that_means():
    assert "# example: keyring" in render(ANSWERS) and "signatures are NOT checked" in render(ANSWERS)
