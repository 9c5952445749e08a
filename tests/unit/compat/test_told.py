import logging
from pathlib import Path

import pytest

from pushmirror import hooks
from pushmirror.compat.told import in_their_words, is_failed_hook, of_withheld, text_of
from pushmirror.config.model import Archive
from pushmirror.sync.rsync import failure


def record(form: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("pushmirror.x", logging.INFO, "x.py", 1, form, args, None)


@pytest.mark.parametrize(
    ("form", "args", "text", "failed"),
    [
        (hooks.RUNS, ("before_sync", "/bin/hook a"), "Running hook 1: /bin/hook a", False),
        (hooks.SAYS, ("after_stage1", "hook `path` {0}"), "hook `path` {0}", False),
        (hooks.ENDED, ("after_publish", 0), "Back from hook 3, got returncode 0", False),
        (hooks.ENDED, ("before_push", 9), "Back from hook 4, got returncode 9", True),
        ("%s", ("the hook after_push (x) ended",), "hook 5 (x) ended", False),
        ("nothing of theirs", (), "nothing of theirs", False),
    ],
)
def test_hooks_are_told_by_their_number(form, args, text, failed):
    assert (text_of(record(form, *args)), is_failed_hook(record(form, *args))) == (text, failed)


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
def test_a_hint_names_the_variable_and_no_key(rsync_says, variable):
    archive = Archive.model_validate({"name": "debian", "path": str(Path("/srv/debian"))})
    hint = in_their_words(failure(10, rsync_says, archive=archive).hint or "")
    assert variable in hint and "`" not in hint


def test_a_way_out_of_a_withheld_deletion_is_one_that_there_is():
    text = "120 files are more than delete.max_files = 2: pushmirror sync debian --allow-mass-delete"
    assert in_their_words(text) == (
        "120 files are more than --max-delete=2: raise --max-delete in RSYNC_OPTIONS2"
    )


@pytest.mark.parametrize(
    ("set_to", "wanted"),
    [
        ("", "--max-delete=7 --delay-updates --delete --delete-delay --delete-excluded"),
        ("--delete --max-delete=2 --bwlimit=1", "--max-delete=7 --delete --bwlimit=1"),
    ],
)
def test_who_is_told_of_withheld_deletions_is_told_what_to_set(set_to, wanted):
    subject, body = of_withheld(7, set_to, "/etc/ftpsync/ftpsync.conf")
    assert "7 files" in subject and f'RSYNC_OPTIONS2="{wanted}"' in body and "ftpsync.conf" in body
