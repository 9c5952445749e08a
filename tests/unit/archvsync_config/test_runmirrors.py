from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.archvsync_config.places import ScriptPaths
from pushmirror.archvsync_config.runmirrors import read_runmirrors
from pushmirror.archvsync_config.values import Logs, Mail, Runmirrors, Variables

HOME = Path("/nowhere/mirror")
WHERE = ScriptPaths((HOME / ".config/ftpsync",), HOME / "log", HOME / "locks", None)


def read(
    text: str = "all n h.example.org u\n",
    /,
    *,
    archive_option: str = "",
    environment: dict[str, str] | None = None,
    **values: str,
) -> Runmirrors:
    surroundings = {"LOGNAME": "mirror", **(environment or {})}
    return read_runmirrors(
        Variables(HOME / "runmirrors.conf", values, surroundings),
        name="runmirrors-x",
        archive_option=archive_option,
        places=WHERE,
        mirror_text=text,
        home=HOME,
    )


def test_every_variable_has_the_default_of_the_script() -> None:
    found = read()
    assert found.key == HOME / ".ssh/pushmirror" == found.push.key
    assert (found.archive, found.callback, found.hooks) == ("", False, ((), (), ()))
    assert found.ssh_options == ("-o", "StrictHostKeyChecking=no")
    assert found.push.deadline == timedelta(seconds=600)
    assert found.mail == Mail(("mirror",))
    assert found.logs == Logs(HOME / "log", HOME / "log/runmirrors-x.log", 14)
    assert (found.kind, found.warnings, found.mirror_warnings, found.ignored) == ("mhop", (), (), ())


@pytest.mark.parametrize(
    ("variable", "value", "part", "wanted"),
    [
        ("KEYFILE", "keys/push", "key", HOME / "keys/push"),
        ("KEYFILE", "/srv/push", "key", Path("/srv/push")),
        ("MAILTO", "a@example.org, b@example.org c", "mail", Mail(("a@example.org", "b@example.org", "c"))),
        ("LOGDIR", "/srv/log", "logs", Logs(Path("/srv/log"), Path("/srv/log/runmirrors-x.log"))),
        ("LOG", "/srv/x.log", "logs", Logs(HOME / "log", Path("/srv/x.log"))),
        ("LOGROTATE", "3", "logs", Logs(HOME / "log", HOME / "log/runmirrors-x.log", 3)),
        ("PUSHKIND", "all", "kind", "all"),
        ("SSH_OPTS", " -o A=b  -4 ", "ssh_options", ("-o", "A=b", "-4")),
        ("PUSHARCHIVE", "debian", "archive", "debian"),
        ("PUSHCB", "yes", "callback", True),
        ("HOOK1", "/bin/echo one  two", "hooks", (("/bin/echo", "one", "two"), (), ())),
        ("HOOK2", "echo one", "hooks", ((), ("echo", "one"), ())),
        ("HOOK3", "bin/three x", "hooks", ((), (), (f"{HOME}/bin/three", "x"))),
    ],
)
def test_a_variable_says_what_it_says_there(variable: str, value: str, part: str, wanted: object) -> None:
    assert getattr(read(**{variable: value}), part) == wanted


def test_the_archive_option_is_the_archive_unless_the_configuration_has_another() -> None:
    assert read(archive_option="bpo").lines[0].archive == "bpo"
    assert read(archive_option="bpo", PUSHARCHIVE="backports").lines[0].archive == "backports"


def test_the_environment_has_defaults() -> None:
    assert read(environment={"PUSHDELAY": "7"}).push.deadline == timedelta(seconds=7)


@pytest.mark.parametrize(("told", "deadline_s"), [("0", 1), ("10min", 600), ("-1", 600), ("9" * 20, 600)])
def test_a_pushdelay_that_cannot_be_still_pushes(told: str, deadline_s: int) -> None:
    found = read(PUSHDELAY=told)
    assert found.push.deadline == timedelta(seconds=deadline_s)
    assert bool(found.warnings) is (told != "0")


def test_a_pushdelay_is_a_year_at_most() -> None:
    assert read(PUSHDELAY="9" * 10).push.deadline == timedelta(days=365)


def test_a_key_file_that_cannot_be_is_the_default_and_in_the_warnings() -> None:
    found = read(KEYFILE="/srv/\x80")
    assert found.push.key == HOME / ".ssh/pushmirror" and "KEYFILE" in found.warnings[0]


def test_what_is_wrong_with_a_line_is_in_the_warnings() -> None:
    found = read("nonsense\nall n h u 1\n", PUSHDELAY="x")
    line = "line 1 (nonsense) is ignored: expected all, staged, mhop or DELAY, found nonsense"
    assert line in found.mirror_warnings and len(found.mirror_warnings) == 2
    assert len(found.warnings) == 1
    assert found.ignored == (line,)
