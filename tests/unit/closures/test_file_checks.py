"""What came from upstream is looked at once, whoever names it."""

from pushmirror.archive.index import File
from pushmirror.archive.pathset import PathSet, fingerprint
from pushmirror.closures.file_checks import NewFiles


def files(*paths: str) -> list[File]:
    return [File(path, 1, "0" * 64) for path in paths]


def test_only_what_came_is_taken() -> None:
    came = NewFiles(PathSet.of(["pool/landed"]), {"pool/staged"})
    assert came.take(files("pool/landed", "pool/old", "pool/staged")) == files("pool/landed", "pool/staged")


def test_nothing_is_taken_twice() -> None:
    came = NewFiles(PathSet.of(["pool/landed"]), {"pool/staged"})
    both = files("pool/landed", "pool/staged")
    assert came.take(both + both) == both
    assert came.take(both) == [] and came.rest() == set()


def test_what_nobody_named_yet_is_the_rest() -> None:
    came = NewFiles(PathSet.of(["pool/a", "pool/b"]), {"doc/c", "pool/d"})
    came.take(files("pool/a", "pool/d"))
    assert came.rest() == {fingerprint("pool/b"), fingerprint("doc/c")}


def test_a_name_that_both_landed_and_was_staged_is_looked_at() -> None:
    came = NewFiles(PathSet.of(["pool/a"]), {"pool/a"})
    assert came.take(files("pool/a")) == files("pool/a")


def test_each_word_about_what_came_is_looked_at() -> None:
    came = NewFiles(PathSet.of(["pool/landed"]), {"pool/staged"})
    (landed, staged) = files("pool/landed", "pool/staged")
    others = [landed._replace(digest="1" * 64), staged._replace(size=2), landed._replace(size=2)]
    assert came.take([landed, staged, *others, landed, *others]) == [landed, staged, *others]
    assert came.rest() == set()
