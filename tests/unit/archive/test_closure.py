from pushmirror.archive.index import IndexKind, readable, required
from pushmirror.archive.release import Listed, by_hash_paths, parse_release


def listed(path: str) -> Listed:
    return Listed(path, 3, "a" * 64)


def test_a_file_has_a_by_hash_name_for_each_hash() -> None:
    entry = Listed("main/source/Sources.xz", 3, "a" * 64, (("SHA512", "c" * 128), ("MD5Sum", "b" * 32)))
    assert by_hash_paths(entry) == (
        ("MD5Sum", "main/source/by-hash/MD5Sum/" + "b" * 32),
        ("SHA256", "main/source/by-hash/SHA256/" + "a" * 64),
        ("SHA512", "main/source/by-hash/SHA512/" + "c" * 128),
    )


def test_a_file_beside_the_release_has_its_by_hash_name_there() -> None:
    assert by_hash_paths(listed("Packages"))[0][1] == "by-hash/SHA256/" + "a" * 64


def test_only_what_upstream_has_is_required() -> None:
    lines = "".join(f" {'a' * 64} 3 {path}\n" for path in ("Packages", "Packages.gz", "Packages.xz"))
    release = parse_release(f"SHA256:\n{lines}".encode(), where="Release")
    assert [entry.path for entry in required(release, {"Packages.xz", "Packages.gz", "x"})] == [
        "Packages.gz",
        "Packages.xz",
    ]


def test_the_cheapest_variant_of_each_index_is_read() -> None:
    paths = [
        "a/Packages.bz2",
        "a/Packages.xz",
        "a/Packages.gz",
        "s/Sources.xz",
        "Contents-all.gz",
        "a/Packages.diff/Index",
    ]
    assert [(kind, entry.path) for kind, entry in readable(map(listed, paths))] == [
        (IndexKind.PACKAGES, "a/Packages.gz"),
        (IndexKind.SOURCES, "s/Sources.xz"),
        (IndexKind.DIFF_INDEX, "a/Packages.diff/Index"),
    ]
