"""`pushmirror receive`, called as sshd would: its words, its answers, and what it leaves in the history."""

from pathlib import Path

import pytest

from pushmirror.lab.judge import same_tree
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon
from trees import refused

USER, PASSWORD = "site1.example.com", "correct horse battery staple"


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A small plain tree."""
    tree = tmp_path / "upstream"
    for path in ("README", "pool/one", "project/trace/master"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    return tree


@pytest.fixture
def site(tmp_path: Path, upstream: Path, daemon: RsyncDaemon) -> LabSite:
    daemon.add_module(ARCHIVE, upstream, {USER: PASSWORD})
    return LabSite(tmp_path / "site", password=PASSWORD, upstream=daemon.url(ARCHIVE, USER))


def push(site: LabSite, words: str, *arguments: str) -> process.Result:
    """What a push with these words gets as its answer."""
    env = {"SSH_ORIGINAL_COMMAND": words, "SSH_CONNECTION": "192.0.2.7 40000 192.0.2.1 22"}
    return site.run("receive", *arguments, env=env)


def test_a_push_brings_the_tree_up_to_date_and_says_so(site: LabSite, upstream: Path) -> None:
    said = push(site, " sync:archive:debian sync:all").check().output.decode().splitlines()
    assert len(said) == 1 and said[0].startswith("debian all: fetched ")
    assert same_tree(upstream, site.tree) == []


def test_a_push_without_words_is_for_everything_of_the_main_archive(site: LabSite, upstream: Path) -> None:
    push(site, "").check()
    assert same_tree(upstream, site.tree) == []


def test_trigger_client_and_stage_are_in_the_history(site: LabSite) -> None:
    push(site, "sync:stage1").check()
    push(site, "sync:stage2", "-T", "other hub").check()
    second, first = site.json("history")
    assert (first["stage"], first["trigger"]) == ("stage1", "ssh")
    assert (second["stage"], second["trigger"]) == ("stage2", "other hub")
    assert "192.0.2.7" in site.run("log", str(first["id"])).output.decode()


def test_a_push_without_words_comes_by_ssh_all_the_same(site: LabSite) -> None:
    site.run("receive", env={"SSH_CONNECTION": "192.0.2.7 40000 192.0.2.1 22"}).check()
    assert site.json("history")[0]["trigger"] == "ssh"


def test_the_trigger_is_in_the_public_trace(site: LabSite) -> None:
    push(site, "sync:all").check()
    assert "Trigger: ssh\n" in (site.tree / "project/trace" / site.name).read_text()


def test_words_of_the_forced_command_win(site: LabSite) -> None:
    push(site, "sync:archive:other", "sync:archive:debian").check()
    assert site.json("history")[0]["archive"] == "debian"


def test_words_without_a_meaning_are_named_and_ignored(site: LabSite) -> None:
    said = push(site, "sync:all uptime sync:stage3").check().output.decode().splitlines()
    assert said[:2] == ["Unknown option 'uptime' ignored", "Unknown option 'sync:stage3' ignored"]


def test_nothing_of_the_words_reaches_a_shell_or_a_file_name(site: LabSite, tmp_path: Path) -> None:
    touch = f"touch {tmp_path}/pwned"
    evil = f"$({touch}) `{touch}` ; {touch} * sync:archive:../../x"
    result = push(site, evil)
    refused(result, 64, "../../x")
    assert not (tmp_path / "pwned").exists()
    assert "Unknown option '*' ignored" in result.output.decode()


def test_escape_sequences_are_not_sent_back(site: LabSite) -> None:
    assert b"\x1b" not in push(site, "\x1b[2J\x1b]0;title\x07 sync:all").check().output


def test_an_unknown_archive_is_a_usage_error(site: LabSite) -> None:
    refused(push(site, "sync:archive:ubuntu sync:all"), 64, "ubuntu", "debian")
    assert not site.tree.exists()


@pytest.mark.parametrize("words", ["sync:stage1", "sync:all"])
def test_a_stage_1_that_fails_ends_with_3(site: LabSite, words: str) -> None:
    site.set_password("wrong")
    result = push(site, words)
    assert result.exit_code == 3
    assert b"refuses this user or password" in result.output


def test_a_stage_2_that_fails_ends_with_4(site: LabSite, upstream: Path) -> None:
    flag = upstream / "Archive-Update-in-Progress-upstream"
    flag.touch()
    site.configure(update_in_progress={"wait": "1s", "retries": 0})
    result = push(site, "sync:stage2")
    assert result.exit_code == 4 and flag.name.encode() in result.output


def test_a_configuration_that_cannot_be_used_ends_with_78(site: LabSite) -> None:
    (site.etc / "upstream.secret").chmod(0o644)
    refused(push(site, "sync:all"), 78, "upstream.secret")


def test_a_keyring_that_is_missing_ends_with_78(site: LabSite) -> None:
    site.configure(keyring="/nonexistent/keyring.gpg")
    result = push(site, "sync:all")
    assert result.exit_code == 78 and b"/nonexistent/keyring.gpg" in result.output


def test_a_push_outlives_the_connection_that_brought_it(site: LabSite, upstream: Path) -> None:
    process.run(["sh", "-c", '"$@" | true', "sh", *site.argv("receive", "sync:all", "unknown")]).check()
    assert site.json("history")[0]["exit_code"] == 0
    assert same_tree(upstream, site.tree) == []
