"""What all our parts log, in the words of who runs the scripts: hooks by number, keys by their variables.

Pure. What is not known here passes as it is.
"""

from __future__ import annotations

import logging
import re

from pushmirror import hooks

_HOOKS = ("before_sync", "after_stage1", "after_publish", "before_push", "after_push")  # from 1 on
#: What hooks.py logs of each, as the script does; what it says itself is a line as any other.
_OF_HOOKS = {
    hooks.RUNS: "Running hook {0}: {1}",
    hooks.SAYS: "{1}",
    hooks.ENDED: "Back from hook {0}, got returncode {1}",
}
_DELETING = (
    "--delay-updates --delete --delete-delay --delete-excluded"  # of RSYNC_OPTIONS2 when it is not set
)
_MASS_DELETION = re.compile(r"pushmirror sync \S+ --allow-mass-delete")
#: The longer ones first: the first that fits is taken.
_WORDS = (
    *((f"the hook {name}", f"hook {number}") for number, name in enumerate(_HOOKS, start=1)),
    ("the user in `upstream`", "RSYNC_USER"),
    ("the path in `upstream`", "RSYNC_PATH"),
    ("host and port in `upstream`", "RSYNC_HOST, and --port in RSYNC_EXTRA"),
    ("the host in `upstream`", "RSYNC_HOST"),
    ("`upstream`", "RSYNC_HOST and RSYNC_PATH"),
    ("`password_file`", "RSYNC_PASSWORD"),
    ("`tls_ca`", "RSYNC_SSL_CAPATH"),
    ("`tls_method`", "RSYNC_SSL_METHOD"),
    ("`connect_timeout`", "--contimeout in RSYNC_EXTRA"),
    ("`timeout`", "--timeout in RSYNC_EXTRA"),
    ("`proxy`", "RSYNC_PROXY"),
    ("`path`", "TO"),
    ("`ssh_key`", "the key that ssh takes by its ~/.ssh/config"),
    ("delete.max_files = ", "--max-delete="),
    ("delete.max_share = ", ""),
    ("the archive has no keyring", "PUSHMIRROR_KEYRING is not set"),
    ("older than stale_after", "older than a day"),
    ("name another one as directory in [state]", "name another one in PUSHMIRROR_STATE"),
    (" in pushmirror.toml", ""),
)


def text_of(record: logging.LogRecord) -> str:
    """What is logged of it in one line, or more."""
    form = _OF_HOOKS.get(record.msg)
    if form is None or not isinstance(record.args, tuple):
        return in_their_words(record.getMessage())
    name, what = record.args
    return form.format(_number(str(name)), what)


def is_failed_hook(record: logging.LogRecord) -> bool:
    """Whether it tells that a hook has failed, which the script mails at once."""
    return record.msg == hooks.ENDED and isinstance(record.args, tuple) and record.args[1] != 0


def in_their_words(text: str) -> str:
    """A message or hint of ours."""
    for ours, theirs in _WORDS:
        text = text.replace(ours, theirs)
    return _MASS_DELETION.sub("raise --max-delete in RSYNC_OPTIONS2", text)


def of_withheld(files: int, options: str, file: str) -> tuple[str, str]:
    """Subject and body of a mail that so many deletions were withheld.

    `options` are the RSYNC_OPTIONS2 of the configuration in `file`; empty: those of the script.
    """
    others = [word for word in (options or _DELETING).split() if not word.startswith("--max-delete")]
    wanted = " ".join([f"--max-delete={files}", *others])
    body = (
        f"{files} files here are not at upstream any more, which is more than are deleted at once.\n"
        f"They are still here. If upstream really removed them, let one run delete them: set\n\n"
        f'    RSYNC_OPTIONS2="{wanted}"\n\nin {file}, and take it out again afterwards.'
    )
    return f"Nothing was deleted: {files} files are too many", body


def _number(name: str) -> int | str:
    return _HOOKS.index(name) + 1 if name in _HOOKS else name
