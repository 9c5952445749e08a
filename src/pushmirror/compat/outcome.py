"""How a run of ours ended, in the exit codes of ftpsync (archvsync.md, 2)."""

from __future__ import annotations

from pushmirror.errors import Exit
from pushmirror.hub import hook_exit_code
from pushmirror.state.records import Request, Run, Stage

#: As they are; but ftpsync publishes a suite with whatever fault, and is content.
_ITS_OWN: dict[int, Exit] = {
    **{code: code for code in (Exit.OK, Exit.FAILED, Exit.STAGE1, Exit.STAGE2, Exit.CONFIG)},
    Exit.HELD: Exit.OK,
}


def exit_code_of(answer: Request, run: Run | None, stage: Stage) -> int:
    """The exit code of a request's answer: 0, 1, 3, 4, or that of the hook that failed."""
    hook = hook_exit_code(run) if run else None
    if hook is not None:
        return hook
    code = answer.exit_code
    if code is None:
        return Exit.FAILED
    if code == Exit.STAGE1 and stage is Stage.STAGE2:
        return Exit.STAGE2  # there is no stage 1 in it that could fail
    if code in _ITS_OWN:
        return _ITS_OWN[code]
    if code == Exit.UNAVAILABLE:  # rsync is not installed: a shell ends with 127, and so does stage 1
        return Exit.STAGE2 if stage is Stage.STAGE2 else Exit.STAGE1
    return Exit.STAGE1 if stage is Stage.STAGE1 else Exit.STAGE2  # such as 75: upstream kept changing
