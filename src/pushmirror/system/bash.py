"""Evaluate a configuration file by bash, as archvsync's scripts source it.

Guaranteed: the same shell options (`set -euE`, pipefail), in a function, with the same variables set before;
nothing else is run; it ends within a time limit, with values or a ConfigError, whatever the file does.
Values are passed by environment and standard input, never in argv, and no password is in an error. Not the
business of this module: what the values mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.errors import ConfigError, TookTooLong
from pushmirror.system import process

_TIME_LIMIT_S = 30.0
_MOST_OUTPUT = 64 * 1024 * 1024  # bytes of all variables, before and after

#: What the script takes from its standard input, and what it answers on its standard output: fields that
#: end in NUL, three a record. What the file prints goes the way of errors.
_SCRIPT = r"""
exec 3>&1 1>&2
_pm_tell() {
  set +eu; trap - ERR EXIT
  local IFS=' ' _pm_name _pm_ref
  while builtin read -r _pm_name; do
    _pm_ref="$_pm_name[*]"
    builtin printf '%s\0%s\0%s\0' "$1" "$_pm_name" "${!_pm_ref}" >&3
  done < <(builtin compgen -v)
}
_pm_told() {
  local _pm_name
  while builtin read -r _pm_name; do
    builtin printf '%s\0%s\0\0' "$1" "$_pm_name" >&3
  done
}
_pm_source() { local name=$1 config=$_pm_file; . "$config"; }
while IFS= read -r -d '' _pm_what && IFS= read -r -d '' _pm_name && IFS= read -r -d '' _pm_value; do
  case $_pm_what in
    unset) unset -v "$_pm_name" ;;
    set) printf -v "$_pm_name" %s "$_pm_value" ;;
  esac
done
exec </dev/null
_pm_tell before
set -euE -o pipefail
trap 'builtin printf "%s\0%s\0%s\0" failed "$LINENO" "$?" >&3' ERR
_pm_source "$_pm_called"
_pm_tell after
_pm_told exported < <(builtin compgen -e)
_pm_told function < <(builtin compgen -A function)
builtin printf 'end\0\0\0' >&3
"""

#: Has the file define a function, and calls it. `log` and `error` are the scripts', for who calls them there.
_CALL = (
    '_pm_file=$1; shift; while [[ $1 != -- ]]; do declare "$1"; shift; done; shift; set -o pipefail; '
    'log() { echo "$*"; }; error() { log "$@"; }; . "$_pm_file" >/dev/null; "$@"'
)

#: Variables that change by themselves, or that only this script uses.
_NOT_THE_FILES = {
    *("_", "DIRSTACK", "FUNCNAME", "HISTCMD", "IFS", "LINENO", "OLDPWD", "OPTARG", "OPTIND", "PIPESTATUS"),
    *("PWD", "RANDOM", "SECONDS", "SHELLOPTS", "SRANDOM"),
}
_NOT_THE_FILES_PREFIXES = ("BASH", "COMP_", "EPOCH", "_pm_")
#: Variables by which an environment could make bash run or load something.
_UNWANTED = frozenset({"BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PS4", "BASH_XTRACEFD"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"[0-9]{1,9}")
_SECRET = re.compile(r"PASSW|SECRET", re.IGNORECASE)
_SECRETS_LINE = re.compile(r"(?:PASSW|SECRET)\w*\W*=(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The variables and functions that a file sets."""

    values: Mapping[str, str] = field(repr=False)  # those that it set or changed; one that it unset is empty
    exported: frozenset[str]  # of these, those that programs inherit
    functions: tuple[str, ...]  # that it defines


def evaluate(
    file: Path,
    *,
    environment: Mapping[str, str],
    preset: Mapping[str, str],
    timeout_s: float = _TIME_LIMIT_S,
) -> Evaluated:
    """Evaluate a file by bash.

    `environment` is all of the file's environment; `preset` are the shell variables that are set before, NAME
    being the script's name. Raises ConfigError, with bash's words, if the file does not come to its end.
    """
    wanted = {name: value for name, value in environment.items() if _is_wanted(name, value)}
    # Without PATH, bash uses its default.
    unwanted = process.BASE_ENVIRONMENT.keys() - wanted.keys() - {"PATH"}
    records = [("unset", name, "") for name in sorted(unwanted)]
    name = preset.get("NAME", "ftpsync")
    ours = {"_pm_file": str(file.absolute()), "_pm_called": f"{name}.conf"}
    records += [("set", *pair) for pair in {**preset, **ours}.items()]
    try:
        ended = process.run(
            ["bash", "--noprofile", "--norc", "-c", _SCRIPT, name],
            stdin="".join(f"{field}\0" for record in records for field in record).encode(
                "utf-8", "surrogateescape"
            ),
            keep=_MOST_OUTPUT,
            env=wanted,
            timeout_s=timeout_s,
        )
    except TookTooLong as exc:
        raise ConfigError(f"{file}: bash took more than {timeout_s:g} s") from exc
    if len(ended.output) == _MOST_OUTPUT:
        raise ConfigError(f"{file}: its variables take more than {_MOST_OUTPUT} bytes")
    return read_answer(file, ended.output, ended.errors, ended.exit_code, environment)


def read_answer(
    file: Path, output: bytes, errors: str, exit_code: int, environment: Mapping[str, str]
) -> Evaluated:
    """Parse the answer of a bash that evaluated a file; raises ConfigError as `evaluate` does."""
    records = list(_records(output))
    if not records or records[-1][0] != "end":
        raise _failure(file, records, errors, exit_code, environment)
    return _difference(records)


def function_argv(file: Path, words: Sequence[str], preset: Mapping[str, str]) -> tuple[str, ...]:
    """The command line that calls a function of a file, with its arguments; `preset` as for `evaluate`."""
    records = (f"{name}={value}" for name, value in preset.items())
    return ("bash", "-c", _CALL, preset.get("NAME", "ftpsync"), str(file.absolute()), *records, "--", *words)


def called_by(argv: Sequence[str]) -> tuple[str, ...]:
    """The words given to `function_argv`; any other command line unchanged."""
    return tuple(argv[argv.index("--") + 1 :] if _CALL in argv else argv)


def _is_wanted(name: str, value: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name not in _UNWANTED and "\0" not in value


def _records(output: bytes) -> Iterator[tuple[str, str, str]]:
    fields = output.decode("utf-8", "surrogateescape").split("\0")
    return zip(fields[0::3], fields[1::3], fields[2::3], strict=False)  # the last one may be cut off


def _difference(records: Iterable[tuple[str, str, str]]) -> Evaluated:
    of: dict[str, dict[str, str]] = {"before": {}, "after": {}, "exported": {}, "function": {}}
    for what, name, value in records:
        of.setdefault(what, {})[name] = value
    before, after = of["before"], of["after"]
    values = {
        name: after.get(name, "")
        for name in before | after
        if before.get(name) != after.get(name) and _is_the_files(name)
    }
    functions = tuple(sorted(name for name in of["function"] if not name.startswith("_pm_")))
    return Evaluated(values, frozenset(filter(_is_the_files, of["exported"])), functions)


def _is_the_files(name: str) -> bool:
    """Whether a file may set this variable: a file can write to the answer, too."""
    is_ours = name in _NOT_THE_FILES or name.startswith(_NOT_THE_FILES_PREFIXES)
    return not is_ours and bool(_NAME.fullmatch(name))


def _failure(
    file: Path,
    records: Iterable[tuple[str, str, str]],
    errors: str,
    exit_code: int,
    environment: Mapping[str, str],
) -> ConfigError:
    """The error, without anything that may be a password."""
    lines = _lines(file)
    said = re.compile(
        rf"{re.escape(str(file.absolute()))}: \S+ ([0-9]{{1,9}}): (.*)"
    )  # "line" may be translated
    complaints = [found for line in errors.splitlines() if (found := said.match(line))]
    failed = [(int(line), code) for what, line, code in records if what == "failed" and _LINE.fullmatch(line)]
    if complaints:
        number, words = int(complaints[0][1]), complaints[0][2]
    elif failed:
        number, words = failed[-1][0], f"a command ended with exit code {failed[-1][1]}"
    else:
        return ConfigError(f"{file} ends bash early with exit code {exit_code}")
    if number <= len(lines) and _SECRET.search(lines[number - 1]):
        words = "bash stopped here; its message is not shown, because the line has a password"
    return ConfigError(
        f"{file}, line {number}: {_without_secrets(words, lines, environment)}",
        hint=f"run `bash -eu {file}` to see the error",
    )


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _without_secrets(words: str, lines: Iterable[str], environment: Mapping[str, str]) -> str:
    secrets = [value for name, value in environment.items() if _SECRET.search(name)]
    for line in lines:
        if found := _SECRETS_LINE.search(line):
            secrets += re.split(r"[\s'\"$;]+", found[1])
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        words = words.replace(secret, "***")
    return words
