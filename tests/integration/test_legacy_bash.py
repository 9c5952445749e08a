"""archvsync's configuration files, evaluated by bash."""

from __future__ import annotations

import os

import pytest

from pushmirror.archvsync_config.variables import read_variables
from pushmirror.errors import ConfigError
from pushmirror.system import process
from pushmirror.system.bash import called_by, evaluate, function_argv


def read(tmp_path, text, *, environment=None, **preset):
    file = tmp_path / "ftpsync.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/u", **(environment or {})}
    return read_variables(file, environment=environment, preset={"NAME": "ftpsync", **preset})


def test_a_file_with_commands_is_evaluated_by_bash_with_the_scripts_variables(tmp_path):
    text = 'if [ "$NAME" = ftpsync ]; then TO=/srv/$COUNTRY; fi\nARCH=(amd64 arm64)\nLOG="${LOGDIR}/x"\n'
    found = read(tmp_path, text, environment={"COUNTRY": "de"}, LOGDIR="/log")
    assert found.values == {"TO": "/srv/de", "ARCH": "amd64 arm64", "LOG": "/log/x"}


def test_only_what_the_file_changes_counts(tmp_path):
    text = "NAME=ftpsync\nLOGDIR=/elsewhere\nunset RSYNC_HOST\nexport RSYNC_PROXY=p:1\ncd /\n"
    found = read(tmp_path, text, environment={"RSYNC_HOST": "h"}, LOGDIR="/log")
    assert found.values == {"LOGDIR": "/elsewhere", "RSYNC_HOST": "", "RSYNC_PROXY": "p:1"}
    assert found.exported == {"RSYNC_PROXY"}


def test_a_function_runs_as_a_hook_with_its_arguments_and_the_scripts_variables(tmp_path):
    text = 'echo said\nTREE=/srv/$ARCHIVE\nmine() { log "$NAME $TREE $2"; false | true; }\n'
    read(tmp_path, text, ARCHIVE="")
    argv = function_argv(
        tmp_path / "ftpsync.conf", ("mine", "one", "two three"), {"NAME": "n", "ARCHIVE": "x y"}
    )
    ended = process.run(argv)
    assert (ended.output, ended.errors, ended.exit_code) == (b"n /srv/x y two three\n", "", 1)
    assert called_by(argv) == ("mine", "one", "two three") and called_by(["a", "--"]) == ("a", "--")


def test_what_a_file_prints_is_no_variable(tmp_path):
    assert read(tmp_path, "echo A=1\nprintf 'after\\0B\\0001\\0'\nC=3\n").values == {"C": "3"}


def test_bash_leaves_bytes_of_another_encoding_as_they_are(tmp_path):
    value = read(tmp_path, b"INFO_LOCATION='Z\xfcrich'\n").values["INFO_LOCATION"]
    assert value.encode("utf-8", "surrogateescape") == b"Z\xfcrich"


def test_bash_has_no_locale_and_no_zone_but_the_environments(tmp_path):
    assert read(tmp_path, "A=${LC_ALL-none}${TZ-none}\n").values["A"] == "nonenone"


def test_nothing_in_the_environment_makes_bash_run_something_else(tmp_path):
    (tmp_path / "other").write_text("OTHER=1\n")
    hostile = {"BASH_ENV": f"{tmp_path}/other", "BASH_FUNC_true%%": "() { OTHER=1; }"}
    assert read(tmp_path, "true\nA=1\n", environment=hostile).values == {"A": "1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nB=$NOPE\n", "line 2: NOPE: unbound variable"),
        ("A=1\n\nfalse\n", "line 3: a command ended with exit code 1"),
        ("A=1\nB=$(exit 7)\n", "line 2: a command ended with exit code 7"),
        ("A=x(y\n", "line 1: syntax error near unexpected token `('"),
        ("A=${B:?say which}\n", "line 1: B: say which"),
        ("nonesuch\n", "line 1: nonesuch: command not found"),
        ("A='\n", "line 1: unexpected EOF while looking for matching `''"),
    ],
)
def test_a_file_that_ends_the_script_is_an_error_in_bashs_words(tmp_path, text, said):
    with pytest.raises(ConfigError) as found:
        read(tmp_path, text)
    assert str(found.value) == f"{tmp_path}/ftpsync.conf, {said}"


def test_a_file_that_leaves_is_an_error_even_if_it_is_content(tmp_path):
    with pytest.raises(ConfigError, match=r"ftpsync\.conf ends bash early with exit code 0"):
        read(tmp_path, "exit 0\n")


def test_a_file_may_return(tmp_path):
    assert read(tmp_path, "A=1\nreturn 0\nA=2\n").values == {"A": "1"}


@pytest.mark.parametrize(
    "text",
    ["RSYNC_PASSWORD= hush\n", "RSYNC_PASSWORD=hush(\n", "RSYNC_PASSWORD='hush'\nhush\n", "$TOKEN_SECRET\n"],
)
def test_no_error_tells_a_password(tmp_path, text):
    with pytest.raises(ConfigError) as found:
        read(tmp_path, text, environment={"TOKEN_SECRET": "hush"})
    assert "hush" not in str(found.value)


def test_a_file_that_takes_too_long_is_ended(tmp_path):
    file = tmp_path / "slow.conf"
    file.write_text("while :; do :; done\n")
    with pytest.raises(ConfigError, match="bash took more than"):
        evaluate(file, environment={"PATH": os.environ["PATH"]}, preset={}, timeout_s=0.2)


#: Files that do to the evaluation what no operator would, and what comes out: values, or an error's words.
HOSTILE = {
    "ends by a signal": ("kill -9 $$\n", "ends bash early with exit code -9"),
    "becomes another program": ("exec true\n", "ends bash early with exit code 0"),
    "leaves when it is read": ("trap 'exit 0' DEBUG\n:\n", "ends bash early with exit code 0"),
    "closes every handle": ("exec 0<&- 1>&- 2>&- 3>&- 4>&-\nA=1\n", "ends bash early with exit code"),
    "answers with no line": (
        "printf 'failed\\0%s\\0x\\0' many >&3\nexit 3\n",
        "ends bash early with exit code 3",
    ),
    "answers with half a record": ("printf 'after\\0A' >&3\nexit 1\n", "ends bash early with exit code 1"),
    "prints for ever": ("while :; do echo on and on; done\n", "took more than"),
    "answers for ever": ("while :; do printf %1000d 1; done >&3\n", "took more than"),
    "waits for input": ("read -r A\nB=1\n", "line 1: a command ended with exit code 1"),
    "ignores signals": ("trap '' TERM HUP INT\nwhile :; do :; done\n", "took more than"),
    "recurses": ("f() { f; }\nFUNCNEST=100\nf\n", "maximum function nesting level exceeded"),
    "sources itself": ('. "$config"\n', "ends bash early with exit code -11"),
    "replaces commands": ("printf() { :; }\nbuiltin() { :; }\nread() { :; }\nA=1\n", "took more than"),
    "is no text": ("\x00\x01\x02\x7fELF\x00 A=1\n", "command not found"),
    "has a long value": ("printf -v A %300000d 1\n", {"A": "1".rjust(300_000)}),
    "has a large value": ("printf -v A %70000000d 1\n", "take more than 67108864 bytes"),
}


@pytest.mark.parametrize(("text", "outcome"), HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_file_does_there_are_values_or_an_error_of_ours(tmp_path, text, outcome):
    file = tmp_path / "ftpsync.conf"
    file.write_text(text)
    environment = {"PATH": os.environ["PATH"]}
    limit_s = 1.0 if outcome == "took more than" else 20.0
    if isinstance(outcome, dict):
        assert evaluate(file, environment=environment, preset={}, timeout_s=limit_s).values == outcome
        return
    with pytest.raises(ConfigError, match=outcome):
        evaluate(file, environment=environment, preset={}, timeout_s=limit_s)


def test_a_file_that_answers_in_our_place_sets_nothing_that_no_variable_can_be(tmp_path):
    answer = "after 'A=B' 1 after GOOD 2 exported 'A=B' '' exported GOOD '' end '' ''"
    found = read(tmp_path, f"printf '%s\\0' {answer} >&3\nexit\n")
    assert found.values["GOOD"] == "2" and found.exported == {"GOOD"}
    assert all(map(str.isidentifier, found.values))
