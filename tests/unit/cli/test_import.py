from __future__ import annotations

import json
import os
import pwd
import shlex
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from offering import open_directory
from pushmirror.access import credentials
from pushmirror.cli import main as cli
from pushmirror.config import loader
from pushmirror.errors import Exit

FTPSYNC = """\
MIRRORNAME=m.example.org
TO={base}/tree/
RSYNC_HOST=up.example.org
RSYNC_USER=m
RSYNC_PASSWORD=hunter2
MAILTO=me@example.org
"""
RSYNCD = "[tree]\npath = {base}/tree\nauth users = *\nsecrets file = {base}/secrets\nmotd file = /etc/motd\n"
KEY = 'command="~/bin/ftpsync" ssh-ed25519 AAAA hub\n'


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    for variable in ("RSYNC_HOST", "RSYNC_SOURCE", "TO", "MIRRORNAME", "MIRRORS", "PUSHMIRROR_CONFIG"):
        monkeypatch.delenv(variable, raising=False)

    def run(*argv):
        words = ["import", "--to", f"{tmp_path}/to", "--state", f"{tmp_path}/state", *map(str, argv)]
        return cli.main(words), *capsys.readouterr()

    return run


@pytest.fixture
def old(tmp_path):
    """The directory of a mirror's files."""
    directory = tmp_path / "old"
    directory.mkdir()
    texts = {"ftpsync.conf": FTPSYNC, "rsyncd.conf": RSYNCD, "authorized_keys": KEY}
    for name, text in texts.items():
        (directory / name).write_text(text.format(base=directory))
    (directory / "secrets").write_text("site1:geheim\n")
    return directory


def everything(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_import_writes_can_be_loaded(run, old, tmp_path):
    assert run(old)[0] == 0
    config = loader.load(tmp_path / "to")
    assert str(config.archives["tree"].upstream) == "rsync://m@up.example.org/debian"
    assert (config.mirror.name, config.state.directory) == ("m.example.org", tmp_path / "state")
    assert [*config.sites] == ["site1"]


def test_passwords_are_in_files_that_only_their_owner_can_read(run, old, tmp_path):
    run(old)
    secret, site = tmp_path / "to/tree.secret", tmp_path / "to/sites.d/site1.secret"
    assert (secret.read_text(), mode(secret), mode(site)) == ("hunter2\n", 0o600, 0o600)
    assert credentials.read(site, "site1") == credentials.first("site1", "geheim")


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--json",), ("--dry-run", "--json")])
def test_no_password_is_printed(run, old, options):
    _, out, err = run(old, *options)
    assert "hunter2" not in out + err and "geheim" not in out + err


def test_the_password_of_a_web_proxy_is_no_less_a_password(run, old, tmp_path):
    with (old / "ftpsync.conf").open("a") as file:
        file.write("RSYNC_PROXY=me:geheim2@proxy.example.org:3128\n")
    _, out, err = run(old, "--dry-run")
    assert "me:********@proxy.example.org:3128" in out and "geheim2" not in out + err
    run(old)
    assert mode(tmp_path / "to/pushmirror.toml") == 0o600
    assert loader.load(tmp_path / "to").archives["tree"].proxy == "me:geheim2@proxy.example.org:3128"


@pytest.mark.parametrize("password", ['ge"heim', "ge\\\\heim", "ge'heim", "gehe\u0131m", "example"])
def test_a_proxys_password_is_masked_however_toml_writes_it(run, old, tmp_path, password):
    with (old / "ftpsync.conf").open("a") as file:
        file.write(f"RSYNC_PROXY={shlex.quote(f'me:{password}@proxy.example.org:3128')}\n")
    _, out, _ = run(old, "--dry-run")
    assert "heim" not in out and "geh" not in out
    assert 'proxy = "me:********@proxy.example.org:3128"' in out
    run(old)
    assert loader.load(tmp_path / "to").archives["tree"].proxy == f"me:{password}@proxy.example.org:3128"


def test_a_proxy_without_a_password_keeps_nobody_from_reading(run, old, tmp_path):
    with (old / "ftpsync.conf").open("a") as file:
        file.write("RSYNC_PROXY=me@proxy.example.org:3128\n")
    run(old)
    assert mode(tmp_path / "to/pushmirror.toml") == 0o644


def test_mail_that_nobody_asked_for_is_not_told(run, old):
    conf = old / "ftpsync.conf"
    conf.write_text(conf.read_text().replace("MAILTO=me@example.org\n", ""))
    (old / "runmirrors.mirror").write_text("all a a.example.org m\n")
    _, _, err = run(old)
    assert "MAILTO" not in err and "SSH_OPTS" not in err


def test_a_dry_run_shows_what_would_be_to_do(run, old):
    _, out, _ = run(old, "--dry-run")
    _, _, after = out.partition("Nothing was written.")
    assert "  1. " in after and "sync --if-changed -T cron" in after
    assert f"Instead of {old}/authorized_keys:1:" in after


def test_a_dry_run_writes_nothing_and_shows_all_files_and_warnings(run, old, tmp_path):
    before = everything(tmp_path)
    code, out, err = run(old, "--dry-run")
    assert (code, everything(tmp_path)) == (0, before) and not (tmp_path / "to").exists()
    assert 'upstream = "rsync://m@up.example.org/debian"' in out and 'password = "********"' in out
    assert f"{old}/rsyncd.conf:5: motd file" in err and "MAILTO" in err


def test_json_has_all_that_is_printed(run, old, tmp_path):
    told = json.loads(run(old, "--json", "--dry-run")[1])
    assert tomllib.loads(told["files"][0]["text"])["mirror"] == {"name": "m.example.org"}
    assert [file["mode"] for file in told["files"]] == ["0644", "0644", "0600", "0600"]
    assert told["read"][0] == f"{old}/ftpsync.conf" and len(told["warnings"]) == 3
    assert told["authorized_keys"].keys() == {f"{old}/authorized_keys:1"}


def test_a_configuration_that_is_there_is_kept_and_named(run, old, tmp_path):
    run(old)
    before = everything(tmp_path)
    code, _, err = run(old)
    assert (code, everything(tmp_path)) == (Exit.CONFIG, before)
    assert f"{tmp_path}/to/pushmirror.toml exists and was not changed" in err and "--force" in err


def test_another_sites_file_is_a_configuration_too(run, old, tmp_path):
    (tmp_path / "to/sites.d").mkdir(parents=True)
    (tmp_path / "to/sites.d/other.toml").write_text("")
    code, _, err = run(old)
    assert code == Exit.CONFIG and "other.toml exists" in err


def test_force_replaces_all_of_it_and_keeps_a_copy(run, old, tmp_path):
    run(old)
    (tmp_path / "to/sites.d/other.toml").write_text("mine")
    before = everything(tmp_path / "to")
    code, out, _ = run(old, "--force", "--json")
    backup = Path(json.loads(out)["backup"])
    copies = {tmp_path / "to" / path.relative_to(backup): data for path, data in everything(backup).items()}
    assert (code, copies, mode(backup)) == (0, before, 0o700)
    assert [*loader.load(tmp_path / "to").sites] == ["site1"]


def test_a_dry_run_beside_a_configuration_is_no_error(run, old):
    run(old)
    assert run(old, "--dry-run")[0] == 0


def test_the_next_steps_have_the_line_for_authorized_keys(run, old, tmp_path):
    _, out, _ = run(old)
    line = next(line for line in out.splitlines() if line.startswith("restrict"))
    assert line.endswith(f'--config {tmp_path}/to/pushmirror.toml receive" ssh-ed25519 AAAA hub')
    steps = ("keyring", "check`", "replace the hubs", "crontab", "serve`")
    assert all(step in out for step in steps)


def test_what_contradicts_itself_writes_nothing(run, old, tmp_path):
    other = FTPSYNC.replace("m.example.org", "n.example.org").format(base=tmp_path / "x")
    (old / "ftpsync-x.conf").write_text(other)
    code, _, err = run(old)
    assert code == Exit.CONFIG and "found n.example.org" in err and not (tmp_path / "to").exists()


def test_the_callers_environment_is_not_part_of_files(run, old, tmp_path, monkeypatch):
    monkeypatch.setenv("INFO_COUNTRY", "XX")
    run(old)
    assert loader.load(tmp_path / "to").mirror.country is None


def test_a_container_has_its_variables_only(run, tmp_path, monkeypatch):
    for name, value in {"RSYNC_HOST": "up", "MIRRORNAME": "pod", "TO": "/data", "INFO_COUNTRY": "XX"}.items():
        monkeypatch.setenv(name, value)
    code, out, _ = run("--environment")
    config = loader.load(tmp_path / "to")
    assert (code, config.mirror.country, str(config.archives["data"].upstream)) == (
        0,
        "XX",
        "rsync://up/debian",
    )
    assert "read     the environment" in out


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (["--environment"], Exit.CONFIG, "RSYNC_HOST"),
        (["--environment", "x"], Exit.USAGE, "reads no files"),
        (["/nowhere"], Exit.USAGE, "/nowhere"),
        (["{empty}"], Exit.CONFIG, "nothing to import in"),
        (["{old}", "--tree", "x"], Exit.USAGE, "NAME=PATH"),
        (["{old}", "--tree", "a/b=/x"], Exit.USAGE, "NAME=PATH"),
        (["{old}", "--tree", "tree=/x"], Exit.CONFIG, "--tree tree"),
        (["{old}", "--mirror-name", "other"], Exit.USAGE, "MIRRORNAME is m.example.org"),
    ],
)
def test_wrong_usage_is_told(run, old, *, argv, code, told):
    (old / "none").mkdir()
    found, _, err = run(*(word.format(old=old, empty=old / "none") for word in argv))
    assert found == code and told in err and "internal error" not in err


def test_a_secrets_file_that_is_a_directory_is_told_with_what_to_do(run, old):
    (old / "secrets").unlink()
    (old / "secrets").mkdir()
    code, _, err = run(old)
    assert code == Exit.CONFIG and f"{old}/secrets" in err and "hint: correct" in err and "as root" not in err


def test_a_secrets_file_that_is_not_there_stops_nothing(run, old, tmp_path):
    (old / "secrets").unlink()
    code, _, err = run(old)
    assert code == 0 and f"{old}/secrets does not exist" in err and not loader.load(tmp_path / "to").sites


def test_latin_1_becomes_utf_8_and_is_told(run, old, tmp_path):
    with (old / "ftpsync.conf").open("ab") as file:
        file.write(b'INFO_LOCATION="Z\xfcrich"\n')
    (old / "runmirrors.mirror").write_bytes(b"all a a.example.org m -o User=M\xfcller\n")
    code, _, err = run(old)
    config = loader.load(tmp_path / "to")
    assert (code, config.mirror.location) == (0, "Z\xfcrich")
    assert config.sites["a"].ssh_options == ("-o", "User=M\xfcller")
    assert "ftpsync.conf: INFO_LOCATION: not UTF-8" in err and "runmirrors.mirror: is not UTF-8" in err


def test_a_password_in_latin_1_would_be_another_one(run, old, tmp_path):
    text = (old / "ftpsync.conf").read_text().replace("hunter2", "H\xfcter")
    (old / "ftpsync.conf").write_bytes(text.encode("latin-1"))
    code, out, err = run(old)
    assert code == 0 and loader.load(tmp_path / "to").archives["tree"].password_file is None
    assert "RSYNC_PASSWORD is not UTF-8" in err and "ter\n" not in out + err


def test_a_tarballs_files_know_its_directory(run, tmp_path):
    (tmp_path / "base/etc").mkdir(parents=True)
    text = "MIRRORNAME=m.example.org\nRSYNC_HOST=up\nTO=${BASEDIR}/tree\nHOOK1=bin/hook\n"
    (tmp_path / "base/etc/ftpsync.conf").write_text(text)
    assert run(tmp_path / "base")[0] == 0
    archive = loader.load(tmp_path / "to").archives["tree"]
    assert archive.path == tmp_path / "base/tree"
    assert archive.hooks.before_sync == (f"{tmp_path}/base/bin/hook",)


def test_what_the_scripts_have_set_before_they_read_a_file_is_set(run, old, tmp_path):
    text = 'MIRRORNAME=m.example.org\nRSYNC_HOST=up\nTO="/srv/${ARCHIVE}"\nHUB=${SYNCALL}\n'
    (old / "ftpsync-security.conf").write_text(text)
    (old / "runmirrors-security.conf").write_text('KEYFILE=".ssh/${CONF}"\n')
    (old / "runmirrors-security.mirror").write_text("all a a.example.org m\n")
    assert run(old)[0] == 0
    config = loader.load(tmp_path / "to")
    assert config.archives["security"].path == Path("/srv/security")
    assert config.push.key.name == "security"


def test_a_runmirrors_conf_without_mirrors_is_in_nobodys_way(run, old):
    (old / "runmirrors.conf").write_text("")
    code, _, err = run(old)
    assert code == 0 and f"{old}/runmirrors.conf names no mirror" in err


def test_runmirrors_alone_are_an_owners(run, tmp_path):
    (tmp_path / "runmirrors.mirror").write_text("all a a.example.org m\n")
    words = ("--tree", "debian=/srv/debian", "--mirror-name", "hub.example.org")
    assert run(tmp_path / "runmirrors.mirror", *words)[0] == 0
    config = loader.load(tmp_path / "to")
    assert (config.mirror.name, [*config.sites], config.archives["debian"].upstream) == (
        "hub.example.org",
        ["a"],
        None,
    )


def test_the_main_archives_names_are_not_guessed_from_the_directory(run, old, tmp_path):
    (old / "ftpsync-x.conf").write_text(f'. {old}/ftpsync.conf\nTO={old}/other/\nRSYNC_PASSWORD=""\n')
    assert run(old)[0] == 0
    assert [*loader.load(tmp_path / "to").archives] == ["tree", "x"]


# -- for another user ---------------------------------------------------------------------------------


@pytest.fixture
def home():
    """That of a user who is not root, which others can enter, unlike those of pytest."""
    if os.geteuid() != 0:
        pytest.skip("only root imports for another user")
    with open_directory() as directory:
        home = directory / "home"
        (home / "old").mkdir(parents=True)
        for path in (home, home / "old"):
            os.chown(path, 65534, 65534)
        yield home


@pytest.fixture
def run_for(home, capsys, monkeypatch):
    """Runs an import of root's for that user."""
    found = pwd.struct_passwd(("m", "x", 65534, 65534, "", str(home), "/bin/sh"))
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"m": found}[name])
    monkeypatch.setattr(pwd, "getpwuid", lambda _: found)
    for name in ("HOME", "LOGNAME", "USER"):
        monkeypatch.setenv(name, "root's")
    return lambda *argv: (cli.main(["import", "--user", "m", *map(str, argv)]), *capsys.readouterr())


def theirs(home: Path, name: str, text: str, mode: int = 0o644) -> Path:
    """A file of that user's."""
    file = home / "old" / name
    file.write_text(text)
    file.chmod(mode)
    os.chown(file, 65534, 65534)
    return file


def test_root_imports_for_the_user_whose_mirror_it_is(home, run_for):
    theirs(home, "ftpsync.conf", FTPSYNC.format(base=home), 0o600)
    theirs(home, "runmirrors.mirror", "all a a.example.org m 2 .ssh/old\n")
    code, out, err = run_for(home / "old")
    etc = home / ".config/pushmirror"
    config = loader.load(etc)
    assert code == 0 and "seems to belong to" not in out and "MAILTO" in err
    assert {path.stat().st_uid for path in (etc.parent, etc, *etc.rglob("*"))} == {65534}
    assert config.push.key == home / ".ssh/pushmirror"
    assert config.sites["a"].key == home / ".ssh/old"
    assert config.state.directory == home / ".local/state/pushmirror"


def test_a_users_bash_is_never_roots(home, run_for):
    conf = FTPSYNC.format(base=home) + 'INFO_SPONSOR="$(id -u; id -G)"\n'
    theirs(home, "ftpsync.conf", conf)
    assert run_for(home / "old")[0] == 0
    assert loader.load(home / ".config/pushmirror").mirror.sponsor == "65534 65534"


def test_a_users_links_lead_no_writing_of_roots(home, run_for):
    theirs(home, "ftpsync.conf", FTPSYNC.format(base=home))
    (home / ".config").mkdir()
    (home.parent / "victim/sites.d").mkdir(parents=True)
    (home.parent / "victim/sites.d/one.toml").touch()
    (home / ".config/pushmirror").symlink_to(home.parent / "victim")
    before = everything(home.parent)
    code, _, err = run_for(home / "old", "--force")
    assert (code, everything(home.parent)) == (Exit.FAILED, before) and "Permission denied" in err


def test_root_reads_secrets_that_are_its_own_for_the_user(home, run_for):
    (home.parent / "rsyncd.conf").write_text(RSYNCD.format(base=home.parent))
    (home.parent / "secrets").write_text("site1:geheim\n")
    (home.parent / "secrets").chmod(0o600)
    assert run_for(home.parent / "rsyncd.conf")[0] == 0
    file = home / ".config/pushmirror/sites.d/site1.secret"
    assert (mode(file), credentials.read(file, "site1")[0].password) == (0o600, "geheim")


@pytest.mark.parametrize("is_users", ["rsyncd.conf", "included", "secrets"])
def test_a_user_has_no_file_read_by_root_that_it_could_not_read(home, run_for, is_users):
    (home.parent / "private").write_text("root:hash\n")
    (home.parent / "private").chmod(0o600)
    (home / "old/secrets").symlink_to(home.parent / "private")
    named = home / "old/secrets" if is_users == "secrets" else home.parent / "private"
    text = f"[tree]\npath = /srv/tree\nauth users = *\nsecrets file = {named}\n"
    file = home.parent / "rsyncd.conf"
    file.write_text(text)
    if is_users == "rsyncd.conf":
        file = theirs(home, "rsyncd.conf", text)
    elif is_users == "included":
        file.write_text(f"&include {theirs(home, 'modules.conf', text)}\n")
    code, _, err = run_for(file)
    assert code == Exit.CONFIG and "Permission denied" in err and not (home / ".config").exists()


def test_the_program_is_named_as_it_was_called_not_from_the_users_home(home, run_for, tmp_path, monkeypatch):
    theirs(home, "ftpsync.conf", FTPSYNC.format(base=home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bin/pushmirror"])
    assert f"{tmp_path}/bin/pushmirror sync" in run_for(home / "old", "--dry-run")[1]


def test_a_dry_run_for_a_user_and_json_say_the_same_as_ever(home, run_for):
    theirs(home, "ftpsync.conf", FTPSYNC.format(base=home))
    told = json.loads(run_for(home / "old", "--dry-run", "--json")[1])
    assert told["read"] == [f"{home}/old/ftpsync.conf"] and not (home / ".config").exists()
    assert told["files"][0]["path"] == f"{home}/.config/pushmirror/pushmirror.toml"


@pytest.mark.parametrize("change", [{"mode": 0o666}, {"owner": 65534}])
def test_root_has_no_bash_of_others_evaluated_as_root(run, old, change):
    if os.geteuid() != 0:
        pytest.skip("this is about root")
    conf = old / "ftpsync.conf"
    conf.write_text(f"{conf.read_text()}touch {old}/evil\n")
    conf.chmod(change.get("mode", 0o644))
    os.chown(conf, change.get("owner", -1), -1)
    code, _, err = run(old)
    assert code == Exit.CONFIG and f"{conf}: bash evaluates this file" in err and "--user" in err
    assert not (old / "evil").exists()


def test_plain_assignments_of_others_are_not_evaluated_as_root_either(run, old):
    if os.geteuid() != 0:
        pytest.skip("this is about root")
    os.chown(old / "ftpsync.conf", 65534, -1)
    code, _, err = run(old)
    assert code == Exit.CONFIG and "--user" in err


def test_root_has_bash_evaluate_what_is_its_own(run, old, tmp_path):
    with (old / "ftpsync.conf").open("a") as file:
        file.write('if true; then INFO_COUNTRY="XX"; fi\n')
    assert run(old)[0] == 0
    assert loader.load(tmp_path / "to").mirror.country == "XX"


def test_root_is_told_that_the_mirror_is_another_users(run, old, run_for):
    (old / "tree").mkdir(exist_ok=True)
    os.chown(old / "tree", 65534, -1)
    assert "seems to belong to m" in run(old)[1]


def test_a_user_that_is_not_there_is_wrong_usage(run, old, run_for):
    assert run(old, "--user", "nobody-at-all")[0] == Exit.USAGE
