"""`pushmirror push` as an operator calls it: what it sends, what it prints, how it ends."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from downstream import SitesSshd
from pushing_hub import ONE, PushingHub
from pushmirror.errors import Exit
from pushmirror.lab.services import wait_until


def test_push_ends_with_0_when_every_site_is_current(hub: PushingHub) -> None:
    one, two = hub.site("one"), hub.site("two", push="staged")
    hub.publish()
    result = hub.run("push")
    assert (result.exit_code, result.errors) == (0, "")
    assert result.output.decode() == f"debian: 2 of 2 sites have generation {ONE[:12]}\n"
    assert (one.sent, two.sent) == (["all"], ["stage1", "stage2"])


def test_push_ends_with_75_when_a_site_has_failed_and_says_which_and_why(hub: PushingHub) -> None:
    bad = hub.site("bad")
    hub.site("good")
    bad.answers("echo no room left; exit 1")
    hub.publish()
    result = hub.run("push")
    assert result.exit_code == Exit.BEHIND
    assert result.output.decode() == f"debian: 1 of 2 sites have generation {ONE[:12]}\n"
    assert "bad" in result.errors and "no room left" in result.errors


def test_a_login_that_our_daemon_refused_is_part_of_the_reason(hub: PushingHub) -> None:
    site = hub.site("one")
    log = hub.state / "rsyncd/transfers.log"
    refused = "auth failed on module debian from UNDETERMINED (192.0.2.7) for one: password mismatch"
    echo = "echo Unknown option sync:generation:x ignored"
    site.answers(f'{echo}; echo "$(date "+%Y/%m/%d %H:%M:%S") [7] {refused}" >>{log}; exit 3')
    hub.publish()
    assert hub.run("push").exit_code == Exit.BEHIND
    said = hub.site_state(site).last_words
    assert said.startswith("our rsync daemon refused its login one to debian at ")
    assert "password mismatch; no output; stage 1 failed there" in said


def test_push_by_hand_tries_a_site_at_once_that_has_failed_before(hub: PushingHub) -> None:
    hub.configure(retry_after="1h", retry_at_most="1h", retry_for="0s")
    site = hub.site("one")
    site.answers("exit 1")
    hub.publish()
    assert hub.run("push").exit_code == Exit.BEHIND
    site.answers("exit 0")
    assert hub.run("push").exit_code == 0


def test_push_by_hand_has_a_resting_site_tried_at_once_by_a_push_in_the_background(
    hub: PushingHub,
) -> None:
    hub.configure(retry_after="1h", retry_at_most="1h", retry_for="1h")
    site = hub.site("one")
    site.answers("exit 1")
    hub.publish()
    with hub.running("push", "--background") as background:
        assert wait_until(lambda: hub.site_state(site).attempts == 1)
        site.answers("exit 0")
        assert hub.run("push", "--site", "one").exit_code == 0
        assert wait_until(lambda: background.poll() == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nonsense"], "there is no archive 'nonsense'"),
        (["--site", "nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_push_of_what_does_not_exist_is_wrong_usage(hub: PushingHub, words: list[str], told: str) -> None:
    hub.site("one")
    result = hub.run("push", *words)
    assert result.exit_code == Exit.USAGE
    assert told in result.errors


def test_push_without_a_site_says_so(hub: PushingHub) -> None:
    result = hub.run("push")
    assert (result.exit_code, "no site to push" in result.errors) == (Exit.USAGE, True)


def test_push_before_anything_is_published_says_so(hub: PushingHub) -> None:
    site = hub.site("one")
    result = hub.run("push")
    assert result.output.decode() == "debian: nothing is published yet\n"
    assert site.sent == []


def test_push_of_one_site_leaves_the_others_alone(hub: PushingHub) -> None:
    one, two = hub.site("one"), hub.site("two")
    hub.publish()
    assert hub.run("push", "--site", "one").exit_code == 0
    assert (one.sent, two.sent) == (["all"], [])


def test_again_wakes_sites_that_have_confirmed_it_already(hub: PushingHub) -> None:
    one, two = hub.site("one", push="staged"), hub.site("two")
    hub.publish()
    hub.push()
    assert hub.run("push", "--again", "--site", "one").exit_code == 0
    assert (one.sent, two.sent) == (["stage1", "stage2"] * 2, ["all"])


def test_a_dry_run_sends_nothing_stores_nothing_and_says_what_would_be_sent(hub: PushingHub) -> None:
    one, two = hub.site("one"), hub.site("two", push="staged", paused=True)
    hub.publish(generation := "a" * 64)
    before = _everything(hub)
    result = hub.run("push", "--dry-run")
    assert result.exit_code == 0
    told = result.output.decode()
    assert f"sync:archive:debian sync:generation:{generation} sync:all" in told and "paused" in told
    assert (one.sent, two.sent) == ([], [])
    assert _everything(hub) == before


def test_a_dry_run_of_again_says_what_again_would_send(hub: PushingHub) -> None:
    hub.site("one")
    hub.publish()
    hub.push()
    before = _everything(hub)
    assert hub.json("push", "--dry-run", "--again")[0]["words"] == "sync:archive:debian sync:all"
    assert _everything(hub) == before


def test_json_says_where_each_site_is(hub: PushingHub) -> None:
    hub.site("good")
    bad = hub.site("bad")
    bad.answers("exit 1")
    hub.publish()
    found = {one["site"]: one for one in hub.json("push")}
    assert (found["good"]["phase"], found["good"]["words"]) == ("current", "")
    assert (found["good"]["wanted"], found["good"]["generation"]) == (ONE, ONE)
    assert (found["bad"]["phase"], found["bad"]["generation"]) == ("backing_off", None)


def test_a_paused_site_that_is_named_is_not_passed_over(hub: PushingHub) -> None:
    hub.site("one", paused=True)
    hub.publish()
    result = hub.run("push", "--site", "one")
    assert result.exit_code == Exit.BEHIND
    assert "pushmirror site resume one" in result.errors


def test_a_paused_site_does_not_make_a_push_fail(hub: PushingHub) -> None:
    hub.site("good")
    hub.site("paused", paused=True)
    hub.publish()
    assert hub.run("push").exit_code == 0


def test_a_state_directory_that_cannot_be_made_is_told_in_words(hub: PushingHub) -> None:
    hub.site("one")
    hub.publish()
    (hub.state / "push").write_text("a file where a directory is to be")
    result = hub.run("push")
    assert result.exit_code == Exit.FAILED
    assert str(hub.state / "push") in result.errors and "internal error" not in result.errors


def test_push_of_every_archive_that_has_sites(tmp_path: Path, sites_sshd: SitesSshd) -> None:
    hub = PushingHub(tmp_path / "hub", sites_sshd, archives=("debian", "security", "nobodys"))
    one, two = hub.site("one", archives=["debian", "security"]), hub.site("two", archives=["security"])
    for name in ("debian", "security", "nobodys"):
        hub.publish(archive=name)
    result = hub.run("push")
    hub.close()
    assert (result.exit_code, len(one.sent), len(two.sent)) == (0, 2, 1)
    assert "nobodys" not in result.output.decode()


def _everything(hub: PushingHub) -> list[str]:
    """All that is in its store, and the names in its state directory."""
    with closing(sqlite3.connect(hub.database)) as db:
        rows = [line for line in db.iterdump() if line.startswith("INSERT")]
    return [*rows, *sorted(str(path) for path in hub.state.rglob("*") if "sqlite-" not in path.name)]


def test_serve_says_once_that_a_site_fails_and_that_it_works_again(hub: PushingHub) -> None:
    hub.configure(retry_after="1s", retry_at_most="1s")
    site = hub.site("one")
    site.answers("echo no room left; exit 1")
    hub.publish()
    with hub.running("serve", "--no-rsync"):
        assert wait_until(lambda: hub.site_state(site).attempts >= 2)
        site.answers("exit 0")
        assert wait_until(lambda: "one works again; it had been failing since" in hub.log.read_text())
    assert hub.log.read_text().count("warning: one: all failed (1): no room left") == 1


def test_serve_says_that_a_site_fails_though_another_process_pushes(hub: PushingHub) -> None:
    hub.configure(retry_after="1h", retry_at_most="1h", retry_for="1h")
    site = hub.site("one")
    site.answers("echo no room left; exit 1")
    hub.publish()
    with hub.running("push", "--background"):
        assert wait_until(lambda: hub.site_state(site).attempts == 1)
        hub.log = hub.directory / "serve.log"
        with hub.running("serve", "--no-rsync"):
            assert wait_until(lambda: "warning: one failed (1): no room left" in hub.log.read_text())
    assert "another process is pushing debian" in hub.log.read_text()
