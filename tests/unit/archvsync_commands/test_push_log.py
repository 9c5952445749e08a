from pathlib import Path

from pushmirror.archvsync_commands.runmirrors_push import PushLog
from pushmirror.archvsync_config.values import Logs, Mail, Runmirrors
from pushmirror.config.model import Push


def runmirrors(directory: Path) -> Runmirrors:
    return Runmirrors(
        name="runmirrors",
        archive="",
        lines=(),
        key=directory / "key",
        ssh_options=(),
        callback=False,
        push=Push(),
        mail=Mail(()),
        logs=Logs(directory, directory / "runmirrors.log"),
        hooks=((), (), ()),
    )


def test_a_push_that_goes_on_logs_where_the_last_call_does(tmp_path):
    told = runmirrors(tmp_path)
    with PushLog.begun(told) as first, PushLog.begun(told) as second:
        first.note("of the first")
        second.note("of the second")
    assert [line.rpartition(": ")[2] for line in told.logs.file.read_text().splitlines()] == [
        "of the first",
        "of the second",
    ]
