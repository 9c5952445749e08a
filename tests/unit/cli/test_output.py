from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import pytest

from pushmirror.cli.output import as_json, print_list, print_table


class Kind(Enum):
    FILE = "file"


class Entry(NamedTuple):
    path: str
    kind: Kind


def test_a_named_tuple_is_an_object_for_programs():
    assert as_json((Entry("a", Kind.FILE),)) == [{"path": "a", "kind": "file"}]


def test_no_line_of_a_table_ends_with_blanks(capsys):
    print_table(["level", "what"], [["ok", "x"], ["error", ""], ["", "long enough to pad the others"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and [line.rstrip() for line in lines] == lines


@pytest.mark.parametrize(("columns", "longest"), [(None, 200), ("60", 60)])
def test_a_table_in_a_pipe_is_as_wide_as_columns_says(columns, longest, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    print_table(["what"], [["word " * 100]])
    assert longest - 5 <= max(map(len, capsys.readouterr().out.splitlines())) <= longest


def test_a_list_is_aligned_and_notes_are_whole(capsys):
    print_list(["run", "archive"], [((1, "debian"), "why " * 100), ((20, "x"), "")])
    header, one, note, two = capsys.readouterr().out.splitlines()
    assert [header, one, two] == ["run  archive", "1    debian", "20   x"]
    assert note == "      " + " ".join(["why"] * 100)
