from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings

from pushmirror.archive.manifest import MAX_STEPS, Head, Step, chain, parse_head, render_head
from pushmirror.archive.manifest_parts import Part
from pushmirror.errors import ArchiveError, MalformedFile, UnknownVersion

from .edits import EDITS, edited

A, B, C, D, G = (letter * 64 for letter in "abcd0")


def part(name: str) -> Part:
    return Part(name, 100, G, 3)


def steps(*states: str) -> tuple[Step, ...]:
    pairs = pairwise(states)
    return tuple(Step(one, next_one, part(f"change-{one[0]}{next_one[0]}.gz")) for one, next_one in pairs)


HEAD = Head(C, G, 2, 30, B, part("snapshot-1.gz"), steps(A, B, C))
TEXT = render_head(HEAD).decode()


def test_a_head_comes_back_as_it_was() -> None:
    assert parse_head(TEXT.encode(), where="H") == HEAD
    alone = replace(HEAD, steps=(), snapshot_state=C)
    assert parse_head(render_head(alone), where="H") == alone


def test_the_format_is_as_documented() -> None:
    assert (
        f"pushmirror-manifest 1\nstate\t{C}\ngeneration\t{G}\nfiles\t2\nsize\t30\n"
        f"snapshot\t{B}\tsnapshot-1.gz\t100\t{G}\t3\n"
        f"step\t{A}\t{B}\tchange-ab.gz\t100\t{G}\t3\nstep\t{B}\t{C}\tchange-bc.gz\t100\t{G}\t3\nend\t2\n"
    ) == TEXT


BAD = {
    "nothing": "",
    "no first line": TEXT.partition("\n")[2],
    "another format": TEXT.replace("-manifest", "-snapshot"),
    "cut in a line": TEXT[:-1],
    "cut before the end": TEXT.partition("end")[0],
    "a line after the end": TEXT + "end\t2\n",
    "a count that is wrong": TEXT.replace("end\t2", "end\t1"),
    "no state": TEXT.replace(f"state\t{C}\n", ""),
    "a state in capitals": TEXT.replace(C, C.upper()),
    "a short state": TEXT.replace(f"state\t{C}", f"state\t{C[1:]}"),
    "the state twice": TEXT.replace(f"state\t{C}\n", f"state\t{C}\n" * 2),
    "a negative number": TEXT.replace("files\t2", "files\t-2"),
    "a number with a zero before it": TEXT.replace("files\t2", "files\t02"),
    "an endless number": TEXT.replace("files\t2", "files\t" + "2" * 5000),
    "a field too many": TEXT.replace("size\t30", "size\t30\t"),
    "a carriage return": TEXT.replace("\n", "\r\n"),
    "a letter that is no ASCII": TEXT.replace("change-ab", "change-é"),
    "a step that leads elsewhere": TEXT.replace(f"\t{A}\t{B}", f"\t{A}\t{D}"),
    "a last step that leads elsewhere": TEXT.replace(f"\t{B}\t{C}", f"\t{B}\t{D}"),
    "a snapshot that is not on the way": TEXT.replace(f"snapshot\t{B}", f"snapshot\t{D}"),
    "steps in another order": TEXT.replace(f"\t{A}\t{B}", f"\t{B}\t{C}", 1),
    "a name with a slash": TEXT.replace("change-ab", "change-/ab"),
    "a name that climbs": TEXT.replace("change-ab.gz", ".."),
    "a hidden name": TEXT.replace("change-ab", ".change-ab"),
    "a name of any file": TEXT.replace("change-ab.gz", "head"),
    "a snapshot as a step": TEXT.replace("change-ab", "snapshot-ab"),
    "a change as a snapshot": TEXT.replace("snapshot-1", "change-1"),
    "a very large file": TEXT.replace("\t100\t", f"\t{2**32 + 1}\t"),
    "a snapshot of very many entries": TEXT.replace(
        "1.gz\t100\t" + G + "\t3", f"1.gz\t100\t{G}\t{2**25 + 1}"
    ),
    "a change of very many entries": TEXT.replace("ab.gz\t100\t" + G + "\t3", f"ab.gz\t100\t{G}\t250001"),
    "a megabyte": TEXT + "x" * 2**20,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_malformed_head_is_refused(text: str) -> None:
    assert text != TEXT
    with pytest.raises(MalformedFile, match=r"^H: "):
        parse_head(text.encode(), where="H")


def test_an_error_names_the_line() -> None:
    with pytest.raises(MalformedFile, match=r"^H: line 4: expected a line files with its 1 fields"):
        parse_head(BAD["a negative number"].encode(), where="H")


def test_a_later_version_says_so() -> None:
    with pytest.raises(UnknownVersion, match="expected version 1 of pushmirror-manifest, found 2"):
        parse_head(TEXT.replace(" 1\n", " 2\n").encode(), where="H")


@pytest.mark.parametrize(("number", "is_read"), [(MAX_STEPS, True), (MAX_STEPS + 1, False)])
def test_the_number_of_steps_is_bounded(number: int, is_read: bool) -> None:
    states = [f"{index:064x}" for index in range(number)] + [C]
    head = replace(HEAD, snapshot_state=C, steps=steps(*states))
    if is_read:
        assert parse_head(render_head(head), where="H") == head
    else:
        with pytest.raises(MalformedFile, match="at most 1000 steps"):
            parse_head(render_head(head), where="H")


def test_a_change_that_would_not_fit_into_memory_is_not_asked_for() -> None:
    large = replace(HEAD.steps[0], part=replace(HEAD.steps[0].part, size=2**26 + 1))
    head = replace(HEAD, steps=(large, *HEAD.steps[1:]))
    with pytest.raises(MalformedFile, match="a file of at most 67108864 bytes, found 67108865"):
        parse_head(render_head(head), where="H")


@pytest.mark.parametrize(("start", "count"), [(C, 0), (B, 1), (A, 2), (D, None), ("", None)])
def test_the_steps_from_a_state(start: str, count: int | None) -> None:
    found = chain(HEAD, start)
    assert found == (None if count is None else HEAD.steps[len(HEAD.steps) - count :])


def test_a_state_that_was_left_and_come_back_to_is_reached_by_the_fewest_steps() -> None:
    head = replace(HEAD, state=B, steps=steps(A, B, C, A, B), snapshot_state=B)
    assert parse_head(render_head(head), where="H") == head
    assert chain(head, A) == head.steps[3:] and chain(head, B) == ()


@given(edits=EDITS)
@settings(max_examples=200)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(edits: list[tuple[int, int, bytes]]) -> None:
    try:
        head = parse_head(edited(TEXT.encode(), edits), where="H")
    except ArchiveError:
        return
    assert parse_head(render_head(head), where="H") == head
