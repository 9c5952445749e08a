"""What we make of archvsync's bash files, against bash itself."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushmirror.config.legacy import bash
from pushmirror.config.legacy.bash import NeedsBash
from pushmirror.config.legacy.reading import read_variables
from pushmirror.errors import ConfigError
from pushmirror.system import process
from pushmirror.system.bash import called_by, evaluate, function_argv

KNOWN = {"HOME": "/home/u", "KNOWN": "known", "EMPTY": "", "FILE": "/a/b.c/d.e", "WORDS": "two  words"}
COMMANDS = {"hostname": lambda: "mirror", "hostname -f": lambda: "mirror.example.org"}
NAMES = ["A", "B", "C"]

#: Sources each file in a subshell, as ftpsync does, and tells what it has made of the variables.
BASH_ITSELF = r"""
hostname() { if [ "${1:-}" = -f ]; then echo mirror.example.org; else echo mirror; fi; }
source_it() { local config=$1; . "$config" >&2; }
cd nowhere
for file in "$@"; do
  ( set -eu; source_it "$file"; set +eu
    for n in HOME KNOWN EMPTY FILE WORDS A B C; do
      if [ -v "$n" ]; then printf '%s\0%s\0' "$n" "${!n}"; fi
      case $n in A|B|C) if [[ ${!n@a} == *x* ]]; then printf 'exported\0%s\0' "$n"; fi ;; esac
    done )
  printf 'code\0%s\0\1' "$?"
done
"""


def by_bash(directory: Path, texts: list[str]) -> list[list[tuple[str, str]]]:
    """What bash says of each text: pairs of a name and its value, then its exit code."""
    (directory / "nowhere").mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (directory / f"{number}").write_text(text, "utf-8")
    files = [f"{directory}/{number}" for number in range(len(texts))]
    ran = process.run(["bash", "-c", BASH_ITSELF, "bash", *files], env=KNOWN, cwd=directory, timeout_s=60)
    told = [part.split("\0")[:-1] for part in ran.output.decode().split("\1")[:-1]]
    assert not list((directory / "nowhere").iterdir())
    return [list(zip(fields[::2], fields[1::2], strict=True)) for fields in told]


def by_us(text: str) -> list[tuple[str, str]] | None:
    try:
        found = bash.read(text, known=KNOWN, substitutions=COMMANDS)
    except NeedsBash:
        return None
    pairs = []
    values = {**KNOWN, **found.values}
    for name in (*KNOWN, *NAMES):
        if name in values:
            pairs.append((name, values[name]))
            if name in NAMES and name in found.exported:
                pairs.append(("exported", name))
    return [*pairs, ("code", "0")]


def compare(directory: Path, texts: list[str]) -> int:
    """Compare what we are sure of; returns how many that were."""
    ours = {text: told for text in texts if (told := by_us(text)) is not None}
    theirs = dict(zip(ours, by_bash(directory, list(ours)), strict=True))
    assert ours == theirs
    return len(ours)


def chosen(*words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words)


def joined(parts: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(parts, max_size=most).map("".join)


def braces(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = chosen("-", ":-", "+", ":+", "=", ":=", "?", ":?")
    names = chosen("A", "B", "KNOWN", "EMPTY", "WORDS")
    return st.builds("${{{}{}{}}}".format, names, operators, joined(inside, 3))


def plain_expansions() -> st.SearchStrategy[str]:
    trimmed = chosen("${FILE%/*}", "${FILE%%/*}", "${FILE#*/}", "${FILE##*/}", "${FILE%.?}", "${FILE%no}")
    return trimmed | chosen("$KNOWN", "${WORDS}", "$EMPTY", "$A", "${B}", "$(hostname -f)", "`hostname`")


IN_QUOTES = st.recursive(
    chosen("a", " ", "'", "~/", "\\$", '\\"', "\\\\", "\\a", "$", "#", ";", "\n", "\\\n", ":~/", "*", "é")
    | plain_expansions(),
    braces,
    max_leaves=4,
)
QUOTED = (
    joined(chosen("a b", "$A", "\\", "\n", '"', "}", "~/"), 2).map("'{}'".format)
    | joined(IN_QUOTES, 3).map('"{}"'.format)
    | joined(chosen("\\n", "\\'", "\\x41", "\\101", "a", "\\\\", "\\e"), 2).map("$'{}'".format)
)
BARE = chosen(
    "a", "/", ":", "=", "~", "~/", ".", "*", "[a-z]", "{a,b}", "%", "#", "!", "é", "\\ ", "\\;", "\\\n"
)
PIECES = st.recursive(
    BARE | QUOTED | plain_expansions(),
    lambda inner: braces(inner | chosen(" ", "  ", "\n", ";", "|", "&", "#", " #")),
    max_leaves=4,
)
WORDS = joined(PIECES, 4)
ASSIGNED = st.builds("{}{}{}".format, st.sampled_from(NAMES), chosen("=", "=", "+="), WORDS)
STATEMENTS = (
    st.lists(ASSIGNED, min_size=1, max_size=2).map(" ".join)
    | st.lists(ASSIGNED | st.sampled_from(NAMES), min_size=1, max_size=2)
    .map(" ".join)
    .map("export {}".format)
    | (braces(PIECES) | braces(IN_QUOTES).map('"{}"'.format)).map(": {}".format)
    | chosen("# a comment $(that is", "", "  ", "\\\n")
)
ENDS = chosen("\n", "; ", " # why\n", " \\\n\n", ";\n")
FILES = joined(st.builds("{}{}".format, STATEMENTS, ENDS), 4)

#: What bash may mean something by, in any order: only what we are sure of is compared.
SOUP = joined(
    chosen(
        *"AB=+${}:-'\"\\\n ~#;`%?*!()/&|<[",
        "A=",
        "B+=",
        "${A:-",
        "${B:=",
        "export ",
        ": ",
        "\\\n",
        "~/",
        ":~",
    )
    | plain_expansions(),
    12,
)
PROPERTY = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@PROPERTY
@given(st.lists(FILES, min_size=60, max_size=60, unique=True))
def test_what_we_read_by_ourselves_is_what_bash_reads(tmp_path_factory, texts):
    assert compare(tmp_path_factory.mktemp("files"), texts) > 10


@PROPERTY
@given(st.lists(SOUP, min_size=100, max_size=100, unique=True))
def test_whatever_stands_in_a_file_we_never_read_it_otherwise_than_bash(tmp_path_factory, texts):
    compare(tmp_path_factory.mktemp("files"), texts)


def test_every_sign_of_ascii_means_the_same_to_us_and_to_bash(tmp_path):
    forms = ["A=x{}y\n", "A={}\n", 'A="x{}y"\n', "A=\\{}y\n", 'A="\\{}"\n', "A=${{EMPTY:-{}}}\n"]
    texts = [form.format(sign) for form in forms for sign in f"{string.punctuation} \t\nae0"]
    assert compare(tmp_path, texts) > 150


def read(tmp_path, text, *, environment=None, **preset):
    file = tmp_path / "ftpsync.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/u", **(environment or {})}
    return read_variables(file, environment=environment, preset={"NAME": "ftpsync", **preset})


def test_a_file_with_commands_is_evaluated_by_bash_with_the_scripts_variables(tmp_path):
    text = 'if [ "$NAME" = ftpsync ]; then TO=/srv/$COUNTRY; fi\nARCH=(amd64 arm64)\nLOG="${LOGDIR}/x"\n'
    found = read(tmp_path, text, environment={"COUNTRY": "de"}, LOGDIR="/log")
    assert found.values == {"TO": "/srv/de", "ARCH": "amd64 arm64", "LOG": "/log/x"}
    assert found.by_bash == "line 1: if"


def test_only_what_the_file_changes_counts(tmp_path):
    text = "NAME=ftpsync\nLOGDIR=/elsewhere\nunset RSYNC_HOST\nexport RSYNC_PROXY=p:1\ncd /\n"
    found = read(tmp_path, text, environment={"RSYNC_HOST": "h"}, LOGDIR="/log")
    assert found.values == {"LOGDIR": "/elsewhere", "RSYNC_HOST": "", "RSYNC_PROXY": "p:1"}
    assert found.exported == {"RSYNC_PROXY"}


def test_functions_are_known(tmp_path):
    assert read(tmp_path, "send_mail_new_version() { :; }\n").functions == ("send_mail_new_version",)


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
    value = read(tmp_path, b"true\nINFO_LOCATION='Z\xfcrich'\n").values["INFO_LOCATION"]
    assert value.encode("utf-8", "surrogateescape") == b"Z\xfcrich"


def test_bash_has_no_locale_and_no_zone_but_the_environments(tmp_path):
    assert read(tmp_path, "true\nA=${LC_ALL-none}${TZ-none}\n").values["A"] == "nonenone"


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
    with pytest.raises(ConfigError, match=r"ftpsync\.conf ended bash with exit code 0"):
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


def test_our_answers_to_commands_are_those_of_the_commands(tmp_path):
    text = "A=$(hostname)\nB=$(hostname -s)\nC=$(whoami)\nD=$(id -un)\n"
    ours, told = read(tmp_path, text), read(tmp_path, f"true\n{text}")
    assert (ours.values, ours.by_bash) == (told.values, "")


def test_our_full_host_name_is_the_one_of_hostname_or_its_failure(tmp_path):
    told = read(tmp_path, "true\nA=$(hostname -f 2>&1) || A=fails\n").values["A"]
    try:
        ours = read(tmp_path, "A=$(hostname -f)\n").values["A"]
    except ConfigError:
        ours = "fails"
    assert ours == told
