"""The rsync options of an ftpsync.conf: honoured by our model, passed on to rsync, or replaced by ours.

Guaranteed: every option is in exactly one of these, so that none is lost silently; an unknown one is passed
on, and rsync refuses it. Source: rsync(1), OPTION SUMMARY and FILTER RULES.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.errors import ConfigError

#: Options with a value that our model has; the last one counts.
VALUES = frozenset({"timeout", "bwlimit", "max-delete", "port", "contimeout", "rsh", "password-file"})
_RULES = frozenset({"exclude", "include", "filter", "exclude-from", "include-from"})
_PASSED_WITH_VALUE = frozenset(
    {
        *("address", "sockopts", "compress-choice", "zc", "compress-level", "zl", "skip-compress"),
        *("checksum-choice", "cc", "protocol", "remote-option", "rsync-path", "outbuf", "max-alloc"),
        *("stop-after", "stop-at", "early-input"),
    }
)
_OURS_WITH_VALUE = frozenset(
    {
        *("block-size", "chmod", "chown", "usermap", "groupmap", "log-file", "log-file-format", "out-format"),
        *("info", "debug", "stderr", "temp-dir", "partial-dir", "backup-dir", "suffix", "compare-dest"),
        *("copy-dest", "link-dest", "files-from", "max-size", "min-size", "modify-window", "checksum-seed"),
        *("iconv", "only-write-batch", "write-batch", "read-batch", "copy-as"),
    }
)
_OURS = frozenset(
    {
        *(
            "archive",
            "recursive",
            "links",
            "perms",
            "times",
            "atimes",
            "crtimes",
            "group",
            "owner",
            "devices",
        ),
        *("specials", "hard-links", "sparse", "verbose", "quiet", "delay-updates", "inplace", "append"),
        *("append-verify", "partial", "progress", "stats", "human-readable", "inc-recursive", "dry-run"),
        *("itemize-changes", "update", "existing", "ignore-existing", "ignore-errors", "force", "fuzzy"),
        *("checksum", "size-only", "ignore-times", "safe-links", "copy-links", "copy-unsafe-links", "acls"),
        *("keep-dirlinks", "copy-dirlinks", "dirs", "prune-empty-dirs", "numeric-ids", "omit-dir-times"),
        *("omit-link-times", "xattrs", "executability", "super", "fake-super", "munge-links", "fsync"),
        *("one-file-system", "preallocate", "trust-sender", "remove-source-files", "relative", "backup"),
        *("implied-dirs", "8-bit-output", "list-only", "cvs-exclude", "mkpath", "write-devices", "from0"),
        *("copy-devices", "open-noatime", "delete-missing-args", "ignore-missing-args", "D", "P", "F"),
    }
)
_DELETING = ("delete", "del")
_SHORT = {
    "e": "rsh",
    "f": "filter",
    "B": "block-size",
    "T": "temp-dir",
    "M": "remote-option",
    "@": "modify-window",
}
_SHORT_PASSED = frozenset("46zW")
_SHORT_OURS = frozenset("avqrlptgoDHASXnuyPIchkKLRsmNUOJxbdiEFC8")
_KINDS = {"exclude": "-", "include": "+", "hide": "-", "show": "+", "H": "-", "S": "+", "-": "-", "+": "+"}
_PROTECTING = {"protect", "P"}
#: ftpsync's own options: no warning is needed if ours differ.
DEFAULTS = frozenset(
    {
        *("-prltvHSB8192", "--safe-links", "--chmod=D755,F644", "--stats", "--no-human-readable"),
        *("--no-inc-recursive", "--delay-updates", "--delete", "--delete-delay", "--delete-excluded"),
        "--delete-after",
    }
)


@dataclass(slots=True)
class Options:
    """The meaning of some rsync options."""

    rules: list[str] = field(
        default_factory=list
    )  # "+ PATTERN" or "- PATTERN", the first that matches decides
    protect: list[str] = field(default_factory=list)  # patterns
    passed: list[str] = field(default_factory=list)  # passed on to rsync, one word each
    values: dict[str, str] = field(default_factory=dict)  # of VALUES
    ours: list[str] = field(default_factory=list)  # without effect here
    deletes: bool = False
    deletes_excluded: bool = False

    def add(self, variable: str, words: Sequence[str]) -> None:
        """Add the words of one variable; ConfigError for a word that is no option."""
        for name, value, word in _options(variable, words):
            self._take(variable, name, value, word)

    def _take(self, variable: str, name: str, value: str, word: str) -> None:
        if name in VALUES:
            self.values[name] = value
        elif name in _RULES:
            self._add_rule(variable, name, value, word)
        elif name.startswith(_DELETING) and name != "delete-missing-args":
            self.deletes = True
            self.deletes_excluded |= name == "delete-excluded"
            self._leave(word)
        elif _is_ours(name):
            self._leave(word)
        else:
            self.passed.append(word)

    def _leave(self, word: str) -> None:
        if word not in DEFAULTS:
            self.ours.append(word)

    def _add_rule(self, variable: str, name: str, value: str, word: str) -> None:
        if name in {"exclude", "include"}:
            self.rules.append(f"{_KINDS[name]} {value}")
        elif name == "filter":
            self._add_filter(variable, value, word)
        else:
            sign = _KINDS[name.removesuffix("-from")]
            self.rules += [_line(line, sign) for line in _lines(variable, value)]

    def _add_filter(self, variable: str, rule: str, word: str) -> None:
        kind, pattern = _split(rule)
        if not pattern:
            raise ConfigError(f"{variable}: expected an rsync rule with its pattern, found {word}")
        if kind in _KINDS:
            self.rules.append(f"{_KINDS[kind]} {pattern}")
        elif kind in _PROTECTING:
            self.protect.append(pattern)
        elif kind in {"merge", "."}:
            for line in _lines(variable, pattern):
                self._add_filter(variable, line, f"{word}: {line}")
        else:
            self.ours.append(word)


def _options(variable: str, words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(long name, value, as one word) of each option."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word in {"-", "--"}:
            raise ConfigError(
                f"{variable}: expected rsync options, found {word!r}",
                hint="quotes inside the variable do not join words; rsync would read it as a file name",
            )
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals and takes_value(name):
                value = _next(rest, variable, word)
                yield name, value, f"{word}={value}"
            else:
                yield name, value, word
        else:
            yield from _short_options(variable, word, rest)


def _short_options(variable: str, word: str, rest: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    if word in DEFAULTS:
        return
    for at, letter in enumerate(word[1:], start=1):
        if letter in _SHORT:
            value = word[at + 1 :].removeprefix("=") or _next(rest, variable, f"-{letter}")
            yield _SHORT[letter], value, f"--{_SHORT[letter]}={value}"
            return
        name = "archive" if letter in _SHORT_OURS else letter  # any other of ours
        yield name, "", f"-{letter}"


def _next(rest: Iterator[str], variable: str, option: str) -> str:
    value = next(rest, None)
    if value is None:
        raise ConfigError(f"{variable}: expected a value after {option}")
    return value


def takes_value(name: str) -> bool:
    """Whether a long option without an equals sign takes the next word as its value."""
    return name in VALUES | _RULES | _PASSED_WITH_VALUE | _OURS_WITH_VALUE


def _is_ours(name: str) -> bool:
    if name in _SHORT_PASSED:
        return False
    plain = name.removeprefix("no-")
    return plain in _OURS or plain in _OURS_WITH_VALUE


def _split(rule: str) -> tuple[str, str]:
    """Kind and pattern of a filter rule: `exclude_/x`, `- /x`, `-_/x`; modifiers are not supported."""
    ends = [at for at in (rule.find("_"), rule.find(" ")) if at >= 0]
    if not ends:
        return rule, ""
    kind = rule[: min(ends)]
    return kind, rule[min(ends) + 1 :].strip()


def _line(line: str, sign: str) -> str:
    return line if line.startswith(("+ ", "- ")) else f"{sign} {line}"


def _lines(variable: str, file: str) -> list[str]:
    try:
        text = Path(file).read_text("utf-8", "surrogateescape")
    except OSError as exc:
        raise ConfigError(f"{variable}: {file} cannot be read: {exc.strerror}") from exc
    lines = (line.strip("\r\n") for line in text.splitlines())
    return [line for line in lines if line.strip() and not line.startswith((";", "#"))]
