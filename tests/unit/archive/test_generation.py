from hypothesis import given
from hypothesis import strategies as st

from pushmirror.archive.generation import TreeDigest, generation

ENTRIES = st.lists(
    st.tuples(st.text(min_size=1, max_size=5), st.sampled_from("fdl"), st.integers(0, 9), st.integers(-9, 9)),
    max_size=8,
)


def test_a_generation_does_not_depend_on_the_order() -> None:
    files = {"dists/a/Release": b"1", "dists/b/Release": b"2"}
    assert generation(files) == generation(dict(reversed(files.items())))


def test_a_generation_depends_on_every_name_and_content() -> None:
    states = [{}, {"a": b""}, {"a": b"1"}, {"b": b"1"}, {"a": b"1", "b": b""}, {"a\udcff": b"1"}]
    assert len({generation(state) for state in states}) == len(states)


def test_a_generation_never_changes_with_the_version() -> None:
    files = {"dists/s/InRelease": b"text\n", "dists/s/Release": b"text\n"}
    assert generation(files) == "57e7804e97047bae663b96032862172c66a20ca26d73577271ce656240b02238"


def digest_of(entries: list[tuple[str, str, int, int]]) -> TreeDigest:
    digest = TreeDigest()
    for path, kind, size, mtime in entries:
        digest.add(path, kind, size=size, mtime=mtime)
    return digest


@given(ENTRIES, st.randoms(use_true_random=False))
def test_a_tree_digest_does_not_depend_on_the_order(entries, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(entries, len(entries))
    assert digest_of(entries).hexdigest() == digest_of(shuffled).hexdigest()


@given(ENTRIES)
def test_what_was_added_can_be_removed(entries: list[tuple[str, str, int, int]]) -> None:
    digest = digest_of(entries)
    for path, kind, size, mtime in entries:
        digest.remove(path, kind, size=size, mtime=mtime)
    assert digest.hexdigest() == "0" * 64


def test_a_tree_digest_depends_on_every_fact() -> None:
    digests = set()
    for facts in ({}, {"size": 1}, {"mtime": 1}, {"target": "1"}, {"size": 1, "mtime": 1}):
        digest = TreeDigest()
        digest.add("a", "f", **facts)  # type: ignore[arg-type]
        digests.add(digest.hexdigest())
    assert len(digests) == 5
