"""Messages about hooks and withheld deletions in the scripts' terms. Pure.

The variables for our keys are in archvsync_config/key_names.py.
"""

from __future__ import annotations

from pushmirror.hooks import HookEnded, HookEvent, HookPrinted, HookStarted

_HOOKS = ("before_sync", "after_stage1", "after_publish", "before_push", "after_push")  # from 1 on
_DELETING = "--delay-updates --delete --delete-delay --delete-excluded"  # the default of RSYNC_OPTIONS2


def line_of_hook(event: HookEvent, number: int | None = None) -> str:
    """The script's log line for an event; `number` is the hook's with runmirrors, None: with ftpsync."""
    number = number or _HOOKS.index(event.name) + 1
    match event:
        case HookStarted():
            return f"Running hook {number}: {event.command}"
        case HookPrinted():
            return event.line
        case HookEnded():
            return f"Back from hook {number}, got returncode {event.exit_code}"


def is_failed(event: HookEvent) -> bool:
    """Whether a hook failed, which is mailed at once."""
    return isinstance(event, HookEnded) and event.exit_code != 0


def of_withheld(files: int, options: str, file: str) -> tuple[str, str]:
    """Subject and body of a mail about withheld deletions.

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
