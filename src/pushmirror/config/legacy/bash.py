"""A bash file that is only assignments, read without bash.

Guaranteed: what is returned is what bash with `set -eu` would have set. Whatever is not surely so (a command,
an array, a variable that is not set, a quirk of quoting) is NeedsBash, and bash has to evaluate the file;
its reason never quotes a value. Not the business of this module: reading the file, and asking bash.

Source of the rules: bash(1), sections QUOTING, PARAMETERS, EXPANSION; a property test asks bash itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pushmirror.config.legacy.bash_words import NAME, WORD_ENDS, NeedsBash, Substitutions, WordReader, words

__all__ = ["Assignments", "NeedsBash", "Substitutions", "read"]


@dataclass(frozen=True, slots=True)
class Assignments:
    """What a file sets."""

    values: Mapping[str, str] = field(repr=False)
    exported: frozenset[str]  # names that it exports, perhaps without setting them


def read(text: str, *, known: Mapping[str, str], substitutions: Substitutions) -> Assignments:
    """The assignments of a file, carried out in their order.

    `known` are the variables that are set before; `substitutions` answers `$(hostname -f)` and its like.
    Raises NeedsBash.
    """
    for character, reason in _STRANGE.items():
        if character in text:
            raise NeedsBash(text[: text.index(character)].count("\n") + 1, reason)
    reader = _Reader(text, known, substitutions)
    reader.file()
    return Assignments(reader.values, frozenset(reader.exported))


_STRANGE = {"\0": "a NUL", "\r": "a carriage return"}  # the second is a part of bash's words

#: Words whose names may be told: none of them can be a password.
_TELLING = words(
    "if then else elif fi for while until do done case esac select function time coproc { } [[ (( ( ! . "
    "source eval read echo printf declare typeset local readonly unset set shopt test [ trap exec exit "
    "return cd umask mkdir cat let true false alias command builtin mapfile readarray ulimit"
)

_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_BUILTIN = re.compile(r"(:|export)(?=[ \t\n;]|\Z)")
_FUNCTION = re.compile(r"[^\s()=;&|<>]+[ \t]*\([ \t]*\)")
_WORD = re.compile(r"[^\s;&|<>]+")


class _Reader(WordReader):
    """The commands of a file, carried out in their order.

    file ─▶ command ─▶ assignments, export, colon ─▶ word
    """

    def __init__(self, text: str, known: Mapping[str, str], substitutions: Substitutions) -> None:
        super().__init__(text, known, substitutions)
        self.exported: set[str] = set()

    def file(self) -> None:
        while self._at < len(self._text):
            self._skip_blanks()
            if self._next() in {"", "\n", "#"}:
                self._end_line()
                continue
            self._command()
            self._skip_blanks()
            if self._next() == ";":
                self._at += 1
            elif self._next() in {"", "\n", "#"}:
                self._end_line()
            else:
                raise self._not_read()

    def _end_line(self) -> None:
        """A comment, if there is one, and the end of the line."""
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end + 1

    def _command(self) -> None:
        builtin = _BUILTIN.match(self._text, self._at)
        if builtin is None:
            self._assignments()
            return
        self._at = builtin.end()
        if builtin[1] == ":":
            while self._another_word():
                self._word(strict=True)  # only for what `${NAME:=…}` in it sets
        else:
            self._export()

    def _assignments(self) -> None:
        while True:
            found = _ASSIGNED.match(self._text, self._at)
            if found is None:
                raise self._not_read()
            self._at = found.end()
            self._assign(found[1], found[2], self._word())
            if not self._another_word():
                return

    def _export(self) -> None:
        told: list[tuple[str, str, str | None]] = []
        while self._another_word():
            if found := _ASSIGNED.match(self._text, self._at):
                self._at = found.end()
                told.append((found[1], found[2], self._word(strict=True)))
            elif found := NAME.match(self._text, self._at):
                self._at = found.end()
                if self._next() not in WORD_ENDS | {""}:
                    raise self._bash("export of something else")
                told.append((found[0], "", None))
            else:
                raise self._bash("export of something else")
        for name, plus, value in told:  # after all words are expanded, unlike plain assignments
            self.exported.add(self._ours(name))
            if value is not None:
                self._assign(name, plus, value)

    def _assign(self, name: str, plus: str, value: str) -> None:
        before = self._variables.get(name, "") if plus else ""
        self.values[self._ours(name)] = before + value

    def _another_word(self) -> bool:
        self._skip_blanks()
        return self._next() not in {"", "\n", ";", "#"}

    def _not_read(self) -> NeedsBash:
        """Why what comes next is no assignment."""
        if _FUNCTION.match(self._text, self._at):
            return self._bash("a function")
        name = NAME.match(self._text, self._at)
        if name and self._text.startswith("[", name.end()):
            return self._bash("an array")
        word = _WORD.match(self._text, self._at)
        return self._bash(word[0] if word and word[0] in _TELLING else "a command")
