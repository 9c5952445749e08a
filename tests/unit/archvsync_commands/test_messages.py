from pathlib import Path

import pytest

from pushmirror.archvsync_commands.messages import is_failed, line_of_hook, of_withheld
from pushmirror.archvsync_config.key_names import VARIABLES
from pushmirror.config.model import Archive, Delete
from pushmirror.errors import HookFailed, key_name, keys_named
from pushmirror.fetch.rsync_command import failure
from pushmirror.hooks import Hook, HookEnded, HookEvent, HookPrinted, HookStarted, run_hook
from pushmirror.sync import deletion


@pytest.mark.parametrize(
    ("event", "text", "failed"),
    [
        (HookStarted("before_sync", "/bin/hook a"), "Running hook 1: /bin/hook a", False),
        (HookPrinted("after_stage1", "hook `path` {0}"), "hook `path` {0}", False),
        (HookEnded("after_publish", 0), "Back from hook 3, got returncode 0", False),
        (HookEnded("before_push", 9), "Back from hook 4, got returncode 9", True),
    ],
)
def test_hooks_are_told_by_their_number(event: HookEvent, text: str, failed: bool) -> None:
    assert (line_of_hook(event), is_failed(event)) == (text, failed)


def test_a_hook_that_failed_is_named_as_in_the_configuration(tmp_path: Path) -> None:
    hook = Hook("after_push", ("false",), {}, tmp_path, 60)
    with keys_named(VARIABLES), pytest.raises(HookFailed, match=r"^HOOK5 \(false\) ended with exit code 1"):
        run_hook(hook)


@pytest.mark.parametrize(
    ("rsync_says", "variable"),
    [
        ("@ERROR: auth failed on module x", "RSYNC_USER and RSYNC_PASSWORD"),
        ("@ERROR: Unknown module 'x'", "RSYNC_PATH"),
        ("Connection refused", "RSYNC_HOST"),
        ("Name or service not known", "RSYNC_HOST"),
        ("certificate verify failed", "RSYNC_SSL_CAPATH"),
        ("timed out", "--contimeout in RSYNC_EXTRA"),
        ("bad response from proxy", "RSYNC_PROXY"),
        ("could not be started: No such file", "RSYNC_SSL_METHOD"),
        ("Permission denied (publickey)", "ssh"),
    ],
)
def test_a_hint_names_the_variable_and_no_key(rsync_says: str, variable: str) -> None:
    archive = Archive.model_validate({"name": "debian", "path": str(Path("/srv/debian"))})
    with keys_named(VARIABLES):
        hint = failure(10, rsync_says, archive=archive).hint or ""
    assert variable in hint and "`" not in hint


def test_afterwards_keys_have_our_own_names_again() -> None:
    with keys_named(VARIABLES):
        assert key_name("tls_ca") == "RSYNC_SSL_CAPATH"
    assert (key_name("tls_ca"), key_name("tls_ca", "ours")) == ("`tls_ca`", "ours")


def test_the_limit_of_a_withheld_deletion_is_named_as_in_the_configuration() -> None:
    with keys_named(VARIABLES):
        decided = deletion.decide(
            [f"x{n}" for n in range(120)], (), files_here=900, limits=Delete(max_files=2)
        )
    assert decided.reason == "120 files are more than --max-delete = 2"


@pytest.mark.parametrize(
    ("set_to", "wanted"),
    [
        ("", "--max-delete=7 --delay-updates --delete --delete-delay --delete-excluded"),
        ("--delete --max-delete=2 --bwlimit=1", "--max-delete=7 --delete --bwlimit=1"),
    ],
)
def test_who_is_told_of_withheld_deletions_is_told_what_to_set(set_to: str, wanted: str) -> None:
    subject, body = of_withheld(7, set_to, "/etc/ftpsync/ftpsync.conf")
    assert "7 files" in subject and f'RSYNC_OPTIONS2="{wanted}"' in body and "ftpsync.conf" in body
