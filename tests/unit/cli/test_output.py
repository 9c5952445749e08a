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
    print_list(["run", "archive"], [((1, "debian"), ["why " * 100]), ((20, "x"), [])])
    header, one, note, two = capsys.readouterr().out.splitlines()
    assert [header, one, two] == ["run  archive", "1    debian", "20   x"]
    assert note == "      " + " ".join(["why"] * 100)


def test_a_table_that_does_not_fit_becomes_blocks_in_which_no_name_is_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-mirror-with-a-very-long-name.in.some-domain.example.org"
    rows = [("ok", "one", name, "do this and that and then the other"), ("error", "two", "short", "")]
    print_table(["level", "what", "found", "what to do"], rows, heading=2)
    assert capsys.readouterr().out.splitlines() == [
        "ok  one",
        "    found:",
        f"    {name}",
        "    what to do: do this and that and",
        "    then the other",
        "error  two",
        "    found: short",
    ]


def test_a_table_that_just_fits_stays_one(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_table(["a", "b"], [["123456789", "123456789"]])
    assert capsys.readouterr().out.splitlines()[-1] == "123456789  123456789"


def test_a_list_that_does_not_fit_becomes_blocks_too(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_list(["a", "b"], [(("1234567890", "1234567890"), ["a note of several words"])], fold=True)
    assert capsys.readouterr().out.splitlines() == [
        "1234567890",
        "    b: 1234567890",
        "    a note of",
        "    several words",
    ]
