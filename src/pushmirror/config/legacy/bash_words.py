"""Words of a bash file: quotes, `${…}`, `~` and the output of a few commands, as an assignment has them.

Guaranteed: as bash with `set -u` would expand them, or NeedsBash; its reason never quotes a value. Not the
business of this module: what stands between the words (`bash.py`).
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping

Substitutions = Mapping[str, Callable[[], str | None]]  # command: its output; none: only it can tell


class NeedsBash(Exception):
    """Only bash can say what the file means."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


def words(text: str) -> frozenset[str]:
    """The words between blanks."""
    return frozenset(text.split())


#: Variables that mean something to bash, that it sets itself, or that hide the script's own.
_BASHS = words(
    "_ name config CDPATH CHILD_MAX COLUMNS COPROC DIRSTACK EMACS ENV EUID EXECIGNORE FCEDIT FIGNORE "
    "FUNCNAME FUNCNEST GLOBIGNORE GROUPS HISTCMD HISTCONTROL HISTFILE HISTFILESIZE HISTIGNORE HISTSIZE "
    "HISTTIMEFORMAT HOSTFILE HOSTTYPE IFS IGNOREEOF INPUTRC INSIDE_EMACS LANG LANGUAGE LINENO LINES "
    "MACHTYPE MAIL MAILCHECK MAILPATH MAPFILE OLDPWD OPTARG OPTERR OPTIND OSTYPE PATH PIPESTATUS "
    "POSIXLY_CORRECT PPID PROMPT_COMMAND PROMPT_DIRTRIM PS0 PS1 PS2 PS3 PS4 PWD RANDOM REPLY SECONDS "
    "SHELL SHELLOPTS SHLVL SRANDOM TERM TEXTDOMAIN TEXTDOMAINDIR TIMEFORMAT TMOUT TZ UID auto_resume "
    "histchars"
)
_BASHS_PREFIXES = ("BASH", "COMP", "EPOCH", "LC_", "READLINE_")

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANKS = re.compile(r"(?:[ \t]|\\\n)*")
_OPERATOR = re.compile(r":?[-=+?]|%%?|##?")
_COMMAND = re.compile(r"[ \t]*([a-z]+(?:[ \t]+-[-a-z]+)?)[ \t]*")
_PATTERN = re.compile(r"([A-Za-z0-9_./:@=,+ *?-]*)\}")
_CONTINUED = "\\\n"
_SPECIAL = frozenset('["0123456789@*#?$!-')  # what makes more of a $ before it
WORD_ENDS = frozenset(" \t\n;")
_META = frozenset("&|()<>")
_UNSURE_IN_BRACES = frozenset("{()<>")
_ESCAPES = dict(zip("abeEfnrtv\\'\"?", "\a\b\x1b\x1b\f\n\r\t\v\\'\"?", strict=True))
_ESCAPED_NUMBER = re.compile(r"x([0-9A-Fa-f]{1,2})|([0-7]{1,3})")


class WordReader:
    """Goes through a text once, from left to right, and expands the words that it is told to read.

    word ─▶ piece: quotes, `…`, $… ─▶ braces ─▶ piece, …

    `live` is off in the part of `${NAME:-…}` that does not count: it is read, but nothing happens.
    """

    def __init__(self, text: str, known: Mapping[str, str], substitutions: Substitutions) -> None:
        self._text = text
        self._at = 0
        self._substitutions = substitutions
        self.values: dict[str, str] = {}
        self._variables = ChainMap(self.values, dict(known))

    # words

    def _word(self, *, strict: bool = False) -> str:
        """A word as the right side of an assignment: no splitting, no globs, `~` at its start and after `:`.

        `strict`: of a command, where braces are expanded.
        """
        if self._next() == "(":
            raise self._bash("an array")
        parts: list[str] = []
        home = True  # whether ~ would be it, here
        while (character := self._next()) and character not in WORD_ENDS:
            if character in _META or (strict and character in "{}"):
                raise self._bash(f"an unquoted {character}")
            if self._continued():
                continue
            if character == "~" and home:
                parts.append(self._home("/: \t\n;", live=True))
            else:
                parts.append(self._piece(live=True))
            home = character == ":"
        return "".join(parts)

    def _piece(self, *, live: bool) -> str:
        """What comes next outside of quotes."""
        character = self._take()
        match character:
            case "\\":
                return self._take()
            case "'":
                return self._until("'")
            case '"':
                return self._double_quoted(live=live)
            case "$" | "`":
                return self._expansion(character, live=live, quoted=False)
        return character

    def _double_quoted(self, *, live: bool) -> str:
        parts: list[str] = []
        while (character := self._take()) != '"':
            match character:
                case "\\":
                    escaped = self._take()
                    parts.append({"\n": ""}.get(escaped, escaped if escaped in '$`"\\' else f"\\{escaped}"))
                case "$" | "`":
                    parts.append(self._expansion(character, live=live, quoted=True))
                case _:
                    parts.append(character)
        return "".join(parts)

    def _home(self, ends: str, *, live: bool) -> str:
        self._at += 1
        if self._next() not in {*ends, ""}:
            raise self._bash("a ~ that is not one's own home")
        home = self._value("HOME", live=live)
        if live and (not home or home.endswith("/")):
            raise self._bash("a home that ends with a slash")  # versions of bash differ
        return home

    def _ansi_c(self) -> str:
        parts: list[str] = []
        while (character := self._take()) != "'":
            if character != "\\":
                parts.append(character)
            elif number := _ESCAPED_NUMBER.match(self._text, self._at):
                self._at = number.end()
                code = int(number[1], 16) if number[1] else int(number[2], 8)
                if not 0 < code < 128:
                    raise self._bash("a byte that is no ASCII character")
                parts.append(chr(code))
            elif (escaped := self._take()) in _ESCAPES:
                parts.append(_ESCAPES[escaped])
            else:
                raise self._bash("an unusual escape in $'…'")
        return "".join(parts)

    # expansions

    def _expansion(self, opening: str, *, live: bool, quoted: bool) -> str:
        if opening == "`":
            return self._substitution("`", live=live)
        if name := NAME.match(self._text, self._at):
            self._at = name.end()
            self._refuse_going_on()
            return self._value(name[0], live=live)
        match self._next():
            case "{":
                self._at += 1
                return self._braces(live=live, quoted=quoted)
            case "(":
                self._at += 1
                return self._substitution(")", live=live)
            case "'" if not quoted:
                self._at += 1
                return self._ansi_c()
        return self._dollar(quoted=quoted)

    def _dollar(self, *, quoted: bool) -> str:
        """A `$` that is only that."""
        self._refuse_going_on()
        character = self._next()
        if character and character in _SPECIAL and not (quoted and character == '"'):
            raise self._bash(f"${character}")
        return "$"

    def _refuse_going_on(self) -> None:
        if self._text.startswith(_CONTINUED, self._at):
            raise self._bash("a name that might go on in the next line")

    def _substitution(self, closing: str, *, live: bool) -> str:
        found = _COMMAND.match(self._text, self._at)
        if found is None or not self._text.startswith(closing, found.end()):
            raise self._bash("arithmetic" if self._next() == "(" else "the output of a command")
        answer = self._substitutions.get(" ".join(found[1].split()))
        if answer is None:
            raise self._bash("the output of a command")
        self._at = found.end() + 1
        output = answer() if live else ""
        if output is None:
            raise self._bash(f"the output of {found[1]}")
        return output

    def _braces(self, *, live: bool, quoted: bool) -> str:
        """`${NAME}`, and those with an operator: the opening is read already."""
        name = NAME.match(self._text, self._at)
        operator = None
        if name:
            self._at = name.end()
            if self._next() == "}":
                self._at += 1
                return self._value(name[0], live=live)
            operator = _OPERATOR.match(self._text, self._at)
        if name is None or operator is None:
            raise self._bash("an unusual ${…}")
        self._at = operator.end()
        self._ours(name[0])
        if operator[0][0] in "%#":
            return self._trimmed(name[0], operator[0], live=live)
        return self._default(name[0], operator[0], live=live, quoted=quoted)

    def _default(self, name: str, operator: str, *, live: bool, quoted: bool) -> str:
        value = self._variables.get(name)
        there = bool(value) if operator[0] == ":" else value is not None
        kind = operator[-1]
        word_counts = there if kind == "+" else not there
        if kind == "?" and live and not there:
            raise self._bash("a variable that is not set")
        word = (self._quoted_braces_word if quoted else self._braces_word)(live=live and word_counts)
        if not live:
            return ""
        if kind == "=" and not there:
            self.values[name] = word
        return word if word_counts else ("" if kind == "+" else value or "")

    def _braces_word(self, *, live: bool) -> str:
        parts: list[str] = []
        before = ""
        while (character := self._next()) != "}":
            if self._continued():
                continue
            if character in _UNSURE_IN_BRACES or (character == "~" and before == ":"):
                raise self._bash(f"an unquoted {character} in ${{…}}")
            if character == "~" and not before:
                parts.append(self._home("/}", live=live))
            else:
                parts.append(self._piece(live=live))
            before = character
        self._at += 1
        return "".join(parts)

    def _quoted_braces_word(self, *, live: bool) -> str:
        parts: list[str] = []
        while (character := self._take()) != "}":
            match character:
                case "\\" if self._next() in {*'$`"\\}'}:
                    parts.append(self._take())
                case "\\" | "'" | '"' | "{":
                    raise self._bash(f'a {character} in "${{…}}"')
                case "$" | "`":
                    parts.append(self._expansion(character, live=live, quoted=True))
                case _:
                    parts.append(character)
        return "".join(parts)

    def _trimmed(self, name: str, operator: str, *, live: bool) -> str:
        pattern = _PATTERN.match(self._text, self._at)
        if pattern is None:
            raise self._bash("an unusual pattern in ${…}")
        self._at = pattern.end()
        value = self._value(name, live=live)
        if not value.isascii():
            raise self._bash("a pattern for letters that are not ASCII")  # what ? means depends on the locale
        return _trim(value, operator, pattern[1])

    # variables and characters

    def _value(self, name: str, *, live: bool) -> str:
        self._ours(name)
        if not live:
            return ""
        try:
            return self._variables[name]
        except KeyError:
            raise self._bash("a variable that is not set") from None  # its name may be of a password

    def _ours(self, name: str) -> str:
        if name in _BASHS or name.startswith(_BASHS_PREFIXES):
            raise self._bash(f"{name}, which is bash's own")
        return name

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._next()
        if not character:
            raise self._bash("an end within quotes or braces")
        self._at += 1
        return character

    def _until(self, closing: str) -> str:
        end = self._text.find(closing, self._at)
        if end < 0:
            raise self._bash("an end within quotes or braces")
        taken = self._text[self._at : end]
        self._at = end + 1
        return taken

    def _continued(self) -> bool:
        """Whether a line went on here: then its end is skipped."""
        found = self._text.startswith(_CONTINUED, self._at)
        self._at += len(_CONTINUED) * found
        return found

    def _skip_blanks(self) -> None:
        blanks = _BLANKS.match(self._text, self._at)
        assert blanks
        self._at = blanks.end()

    def _bash(self, reason: str) -> NeedsBash:
        return NeedsBash(self._text.count("\n", 0, self._at) + 1, reason)


def _trim(value: str, operator: str, pattern: str) -> str:
    """`${NAME%pattern}` and its kind, for patterns of `*`, `?` and plain characters."""
    matches = re.compile(_regular(pattern), re.DOTALL).fullmatch
    shortest_first = range(len(value) + 1) if operator[0] == "#" else range(len(value), -1, -1)
    for cut in shortest_first if len(operator) == 1 else reversed(shortest_first):
        gone, kept = (value[:cut], value[cut:]) if operator[0] == "#" else (value[cut:], value[:cut])
        if matches(gone):
            return kept
    return value


def _regular(pattern: str) -> str:
    """The pattern as a regular expression that tries no place again.

    Of the places that fit what follows a star, the first is as good as any other, but for the end.
    """
    first, *others = [
        "".join("." if one == "?" else re.escape(one) for one in part) for part in pattern.split("*")
    ]
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last
