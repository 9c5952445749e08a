from hypothesis import given
from hypothesis import strategies as st

from pushmirror.archive.generation import TreeDigest, generation
from pushmirror.archive.paths import Entry, Kind

ENTRIES = st.lists(
    st.builds(
        Entry,
        path=st.text(min_size=1, max_size=5),
        kind=st.sampled_from(Kind),
        size=st.integers(0, 9),
        mtime=st.integers(-9, 9),
        target=st.text(max_size=2),
    ),
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


def digest_of(entries: list[Entry]) -> TreeDigest:
    digest = TreeDigest()
    for entry in entries:
        digest.add(entry)
    return digest


@given(ENTRIES, st.randoms(use_true_random=False))
def test_a_tree_digest_does_not_depend_on_the_order(entries, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(entries, len(entries))
    assert digest_of(entries).hexdigest() == digest_of(shuffled).hexdigest()


@given(ENTRIES, ENTRIES)
def test_what_was_added_can_be_removed_in_a_later_life(some: list[Entry], others: list[Entry]) -> None:
    digest = TreeDigest(digest_of(some + others).hexdigest())
    for entry in others:
        digest.remove(entry)
    assert digest.hexdigest() == digest_of(some).hexdigest()


@given(ENTRIES, ENTRIES)
def test_digests_of_two_parts_make_that_of_both(some: list[Entry], others: list[Entry]) -> None:
    digest = digest_of(some)
    digest.merge(digest_of(others))
    assert digest.hexdigest() == digest_of(some + others).hexdigest()


def test_a_tree_digest_depends_on_every_fact() -> None:
    file = Entry("a", Kind.FILE)
    link = Entry("a", Kind.LINK, target="1")
    different = [file, file._replace(size=1), file._replace(mtime=1), file._replace(path="b")]
    different += [file._replace(size=1, mtime=1), link, link._replace(target="2"), Entry("a", Kind.DIRECTORY)]
    assert len({digest_of([entry]).hexdigest() for entry in different}) == len(different)


def test_what_no_mirror_keeps_does_not_count() -> None:
    directory = Entry("a", Kind.DIRECTORY)
    assert digest_of([directory]).hexdigest() == digest_of([directory._replace(mtime=7)]).hexdigest()


def test_a_tree_digest_never_changes_with_the_version() -> None:
    entries = [Entry("a/b", Kind.FILE, 3, 7), Entry("a/l", Kind.LINK, target="b"), Entry("a", Kind.DIRECTORY)]
    assert (
        digest_of(entries).hexdigest() == "5f3315ed33e45b91e22c4c308db5b4800f6eb13c5ffd559b1b7bf1e1c85c923b"
    )
