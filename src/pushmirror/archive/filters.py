"""Which part of a tree is mirrored: rsync's include and exclude rules as a value.

Guaranteed: `wants` says what rsync would transfer (rsync(1), FILTER RULES; exclude.c and wildmatch.c), so a
tree may be selected by rsync or by us with the same result; a test asks both. Not the business of this
module: protect, merge, hide and show rules, which we do not use.

All rules become one regular expression, because it is asked about millions of names. It is matched
against the bytes "/" + path, with a NUL behind a directory: the only byte that no pattern can match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pushmirror.archive.paths import encoded
from pushmirror.errors import ConfigError

_MOST_KNOWN = 20_000  # directories of which the answer is kept: their paths may be 4 KB each
_NEVER = b"(?!)"
_CLASSES = {  # as isalpha() and its like in the C locale
    b"alnum": rb"[0-9A-Za-z]",
    b"alpha": rb"[A-Za-z]",
    b"blank": rb"[ \t]",
    b"cntrl": rb"[\x00-\x1f\x7f]",
    b"digit": rb"[0-9]",
    b"graph": rb"[!-~]",
    b"lower": rb"[a-z]",
    b"print": rb"[ -~]",
    b"punct": rb"[!-/:-@\[-`{-~]",
    b"space": rb"[ \t-\r]",
    b"upper": rb"[A-Z]",
    b"xdigit": rb"[0-9A-Fa-f]",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """An include or exclude rule with rsync's pattern language."""

    include: bool
    pattern: str

    def __post_init__(self) -> None:
        if not self.pattern or "\0" in self.pattern or "\n" in self.pattern:
            raise ConfigError(f"expected an rsync pattern on one line, found {self.pattern!r}")

    def argument(self) -> str:
        """The option that gives this rule to rsync."""
        if self.pattern == "!" or self.pattern.startswith(("+ ", "- ")):
            return f"--filter={'+' if self.include else '-'} {self.pattern}"  # --exclude would read a prefix
        return f"--{'include' if self.include else 'exclude'}={self.pattern}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Rules in their order: the first that matches decides, what none matches is wanted."""

    rules: tuple[Rule, ...] = ()
    _first: re.Pattern[bytes] = field(init=False, repr=False, compare=False)
    _directories: dict[str, bool] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        # The empty group behind each alternative tells by its number which rule it was.
        alternatives = b"|".join(_regex(encoded(rule.pattern)) + b"()" for rule in self.rules)
        object.__setattr__(self, "_first", re.compile(b"(?:" + alternatives + rb")\Z", re.DOTALL))

    def wants(self, path: str, *, is_dir: bool = False) -> bool:
        """Whether a tree path is transferred; below a directory that is not, nothing is."""
        if not self.rules:
            return True
        parent = path.rpartition("/")[0]
        return (not parent or self._wants_directory(parent)) and self._passes(path, is_dir=is_dir)

    def rsync_args(self) -> list[str]:
        """The options that make rsync select the same."""
        return [rule.argument() for rule in self.rules]

    def _wants_directory(self, path: str) -> bool:
        unknown: list[str] = []  # not by recursion: Python ends that where a path is deep
        while path and path not in self._directories:
            unknown.append(path)
            path = path.rpartition("/")[0]
        wanted = not path or self._directories[path]
        if len(self._directories) > _MOST_KNOWN:
            self._directories.clear()
        for directory in reversed(unknown):
            wanted = wanted and self._passes(directory, is_dir=True)
            self._directories[directory] = wanted
        return wanted

    def _passes(self, path: str, *, is_dir: bool) -> bool:
        match = self._first.match(b"/" + encoded(path) + (b"\0" if is_dir else b""))
        return match is None or match.lastindex is None or self.rules[match.lastindex - 1].include


def _regex(pattern: bytes) -> bytes:
    """The regular expression of one rule, for bytes as described at the top."""
    only_directories = len(pattern) > 1 and pattern.endswith(b"/")
    if only_directories:
        pattern = pattern[:-1]
    wild = any(special in pattern for special in (b"*", b"?", b"["))
    end = rb"\0" if only_directories else rb"\0?"
    if pattern.startswith(b"/"):
        start, pattern = b"/", pattern[1:]
    elif pattern.startswith(b"**"):
        start = b""  # it may match the slash at the start, too
    else:
        start = rb"[^\0]*/"  # at the start or after any slash
    head = pattern.rstrip(b"*")
    if len(pattern) - len(head) >= 3 and head.endswith(b"/"):
        # "dir/***" is the directory itself and all below it
        below = rb"/[^\0]*" + end
        itself = rb"\0"
        return start + _wild(head[:-1]) + b"(?:" + below + b"|" + itself + b")"
    return start + (_wild(pattern) if wild else re.escape(pattern)) + end


_STAR, _STARS = rb"[^/\0]*", rb"[^\0]*"


def _wild(pattern: bytes) -> bytes:
    parts = [b""]  # what is fixed in length, and between each two of them a star
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"*":
            stars = len(pattern) - at - len(pattern[at:].lstrip(b"*"))
            parts += [_STAR if stars == 1 else _STARS, b""]
            at += stars
        elif char == b"?":
            parts[-1] += rb"[^/\0]"
            at += 1
        elif char == b"[":
            part, at = _set(pattern, at + 1)
            parts[-1] += part
        elif char == b"\\":
            parts[-1] += re.escape(pattern[at + 1 : at + 2]) or _NEVER
            at += 2
        else:
            parts[-1] += re.escape(char)
            at += 1
    return parts[0] + b"".join(map(_after_star, parts[1::2], parts[2::2], [*parts[3::2], b""]))


def _after_star(star: bytes, fixed: bytes, following: bytes) -> bytes:
    """A star, and what is between it and the one that follows it, if one does.

    If that may stand for all that this one may, the first place that fits is as good as any other: none is
    tried again. Else names of an upstream's choice would take hours to compare with `*a*a*a*a*a*`.
    """
    is_sure = following in {star, _STARS}
    return b"(?>" + star + b"?" + fixed + b")" if is_sure else star + fixed


def _set(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The set whose text starts at `at`, as a regular expression, and where the pattern goes on.

    wildmatch's rules: "]" first is itself, a backslash escapes, an unfinished set matches nothing.
    """
    negated = pattern[at : at + 1] in {b"!", b"^"}
    at += negated
    members: set[int] = set()
    previous = 0  # the start of a range, 0 when there cannot be one
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        char, at, escaped = _member(pattern, at)
        if char is None:
            return _NEVER, len(pattern)
        following = pattern[at : at + 1]
        if char == ord("-") and not escaped and previous and following not in {b"", b"]"}:
            last, at, _ = _member(pattern, at)
            if last is None:
                return _NEVER, len(pattern)
            members.update(range(previous, last + 1))
            previous = 0
        elif char == ord("[") and not escaped and following == b":" and _class_end(pattern, at) > 0:
            end = _class_end(pattern, at)
            class_regex = _CLASSES.get(pattern[at + 1 : end - 1])
            if class_regex is None:
                return _NEVER, len(pattern)
            members.update(code for code in range(256) if re.match(class_regex, bytes([code])))
            at, previous = end + 1, 0
        else:
            members.add(char)
            previous = char
    chosen = (set(range(256)) - members if negated else members) - {0, ord("/")}
    codes = b"".join(b"\\x%02x" % code for code in sorted(chosen))
    return (b"[" + codes + b"]" if codes else _NEVER), at + 1


def _member(pattern: bytes, at: int) -> tuple[int | None, int, bool]:
    """A byte of a set, where it ends, and whether it was escaped; None at the pattern's end."""
    escaped = pattern[at : at + 1] == b"\\"
    at += escaped
    return (pattern[at], at + 1, escaped) if at < len(pattern) else (None, at, escaped)


def _class_end(pattern: bytes, colon: int) -> int:
    """Where the "]" of a [:class:] is, whose first colon is at `colon`; -1 when it is none."""
    end = pattern.find(b"]", colon + 1)
    return end if end > colon + 1 and pattern[end - 1 : end] == b":" else -1


# --- The rules of a Debian archive ------------------------------------------------------------------------


def exclude_rules(patterns: Iterable[str]) -> list[Rule]:
    """A rule to leave out each of the patterns."""
    return [Rule(include=False, pattern=pattern) for pattern in patterns]


def filter_rules(filters: Iterable[str]) -> list[Rule]:
    """The rules of "+ PATTERN" and "- PATTERN"."""
    return [Rule(include=text.startswith("+"), pattern=text[2:]) for text in filters]


def architecture_rules(include: Sequence[str], exclude: Sequence[str]) -> list[Rule]:
    """Rules for some architectures only, as ftpsync's ARCH_INCLUDE and ARCH_EXCLUDE; "source" counts as one.

    Raises ConfigError when both are given.
    """
    if include and exclude:
        raise ConfigError("expected architectures to include or to exclude, found both")
    if exclude:
        chosen = [(False, exclude), (True, ["*", "source"])]
    elif include:
        with_all = ["all"] if any(arch != "source" for arch in include) else []
        chosen = [(True, [*include, *with_all]), (False, ["*", "source"])]
    else:
        chosen = []
    return [
        Rule(include=wanted, pattern=pattern)
        for wanted, architectures in chosen
        for architecture in architectures
        for pattern in _architecture_patterns(architecture)
    ]


def _architecture_patterns(architecture: str) -> list[str]:
    """Where files of one architecture are.

    What dak added later is mirrored for all architectures, as ftpsync does: cnf/Commands-ARCH.xz,
    dep11/Components-ARCH.yml.*, Contents-ARCH.xz and everything in by-hash directories outside
    binary-ARCH, whose names do not tell.
    """
    if architecture == "source":
        return ["/dists/**/source/", "/pool/**/*.tar.*", "/pool/**/*.diff.*", "/pool/**/*.dsc"]
    return [
        f"/dists/**/binary-{architecture}/",
        f"/dists/**/installer-{architecture}/",
        f"/dists/**/Contents-{architecture}.gz",
        f"/dists/**/Contents-udeb-{architecture}.gz",
        f"/dists/**/Contents-{architecture}.diff/",
        f"/indices/**/arch-{architecture}.files",
        f"/indices/**/arch-{architecture}.list.gz",
        f"/pool/**/*_{architecture}.deb",
        f"/pool/**/*_{architecture}.udeb",
        f"/pool/**/*_{architecture}.changes",
    ]


#: Stage 1: all that indices will refer to, without the indices that name it; BTS #991166.
STAGE1_RULES: tuple[Rule, ...] = (
    Rule(include=True, pattern="*.diff/"),
    Rule(include=True, pattern="by-hash/"),
    *exclude_rules(
        (
            "*.diff/Index",
            "Contents*",
            "Packages*",
            "Sources*",
            "Release*",
            "InRelease",
            "i18n/*",
            "dep11/*",
            "cnf/Commands-*",
            "installer-*/current",
            "ls-lR*",
        )
    ),
)
