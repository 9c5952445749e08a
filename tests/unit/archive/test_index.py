import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushmirror.archive import index
from pushmirror.archive.compression import check, decompress
from pushmirror.archive.index import File, IndexKind, kind_of, read_index
from pushmirror.archive.release import parse_release
from pushmirror.archive.signature import split_clearsigned

from .conftest import DATA

H = "a" * 64
FIRST = f"Package: a\nFilename: pool/a.deb\nSize: 3\nSHA256: {H}\n"
SECOND = f"Package: b\nfilename:pool/b.deb\nSIZE:\t4 \nDescription: x\n .\n y\nSha256: {H.upper()}\n"

FILE = File("pool/a.deb", 3, H)


def found(text: str | bytes, kind: IndexKind = IndexKind.PACKAGES) -> tuple[list[File], list[str]]:
    """The files that an index refers to, and what was refused of it."""
    refused: list[str] = []
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return read_index(kind, data, base="", where="I", refused=refused.append), refused


LIKE_FIRST = {
    "no final newline": FIRST.removesuffix("\n"),
    "CRLF": FIRST.replace("\n", "\r\n"),
    "a Filename twice, of which the last counts": "Filename: x\n" + FIRST,
    "a Size twice": "size: 9\n" + FIRST,
    "a SHA256 twice": f"SHA256: {'b' * 64}\n" + FIRST,
    "a folded Filename": FIRST.replace(": pool", ":\n pool"),
    "a dot before": FIRST.replace("pool/", "./pool/"),
    "a dot inside": FIRST.replace("pool/", "pool/./"),
    "two slashes": FIRST.replace("pool/", "pool//"),
    "an absolute Filename": FIRST.replace("pool/", "/pool/"),
    "a Filename that climbs inside": FIRST.replace("pool/", "pool/x/../"),
    "a unit behind the size": FIRST.replace(": 3", ": 3 bytes"),
    "white space before the colon": FIRST.replace("Filename:", "Filename :"),
    "a line of white space that does not end it": FIRST.replace("Size", " \nSize"),
    "a comment": "# by: hand\n" + FIRST,
    "blank lines before": "\n\n\n" + FIRST,
    "bytes that are not UTF-8": FIRST + "Description: \udcff\0\n",
    "a stanza without a Filename": FIRST + "\n" + FIRST.replace("Filename", "File"),
    "a stanza with an empty one": FIRST.replace("pool/a.deb", "") + "\n" + FIRST,
    "garbage": "hello\n\n x\n\n" + FIRST,
    "weaker hashes, too": FIRST + f"MD5sum: {'1' * 32}\nSHA1: {'2' * 40}\nSHA512: {'5' * 128}\n",
}


@pytest.mark.parametrize("text", LIKE_FIRST.values(), ids=LIKE_FIRST.keys())
@pytest.mark.parametrize("before", ["", SECOND], ids=["alone", "second"])
def test_a_stanza_that_apt_can_use_gives_its_file(before: str, text: str) -> None:
    blank = "\r\n" if "\r\n" in text else "\n"
    files, refused = found(before.replace("\n", blank) + blank + text if before else text)
    assert files[-1] == FILE and len(files) == (2 if before else 1) and not refused


REFUSED_NAMES = {
    "it climbs out": ("../a.deb", "leads out of the tree"),
    "it climbs out later": ("pool/../../a.deb", "leads out of the tree"),
    "it is a directory": ("pool/a/", "names a directory"),
    "it is none": ("/", "is empty"),
    "it has a control character": ("pool/a\x1b.deb", "control character"),
    "it is folded": ("pool/a.deb\n b", "control character"),
    "it is too long": ("x" * 256, "longer than 255"),
}


@pytest.mark.parametrize(("name", "reason"), REFUSED_NAMES.values(), ids=REFUSED_NAMES.keys())
def test_a_stanza_whose_name_is_none_is_refused_alone(name: str, reason: str) -> None:
    files, refused = found(f"{FIRST}\n{SECOND.replace('pool/b.deb', name)}\n{FIRST}")
    assert files == [FILE, FILE]
    assert len(refused) == 1 and refused[0].startswith("I: stanza 2 ('b'): ") and reason in refused[0]


def test_what_is_refused_is_named_even_far_behind() -> None:
    _, refused = found((FIRST + "\n") * 20_000 + "Filename: ../x\n")
    assert len(refused) == 1 and refused[0].startswith("I: stanza 20001: ")


HASHES = {
    "SHA512 alone": (f"SHA512: {'5' * 128}", "5" * 128),
    "MD5 alone": (f"MD5sum: {'1' * 32}", "1" * 32),
    "SHA1 before MD5": (f"MD5sum: {'1' * 32}\nSHA1: {'2' * 40}", "2" * 40),
    "SHA256 in upper case": (f"SHA256: {'A' * 64}", H),
    "a SHA256 that is none": (f"SHA256: {H[1:]}\nMD5sum: {'1' * 32}", "1" * 32),
    "none": ("MD5sum: x", ""),
}


@pytest.mark.parametrize(("fields", "digest"), HASHES.values(), ids=HASHES.keys())
def test_the_strongest_hash_of_a_stanza_counts(fields: str, digest: str) -> None:
    assert found(FIRST.replace(f"SHA256: {H}", fields)) == ([File("pool/a.deb", 3, digest)], [])


@pytest.mark.parametrize("size", ["", "x", "-3", str(2**50 + 1), "\u0663"])
def test_a_size_that_is_none_is_not_known(size: str) -> None:
    assert found(FIRST.replace(": 3", f": {size}")) == ([File("pool/a.deb", index.UNKNOWN, H)], [])


def test_one_file_under_two_hashes_is_given_twice() -> None:
    other = FIRST.replace(H, "b" * 64)
    assert found(f"{FIRST}\n{other}") == ([FILE, File("pool/a.deb", 3, "b" * 64)], [])


def test_fields_are_read_in_any_case_and_order() -> None:
    files = read_index(IndexKind.PACKAGES, f"{FIRST}\n\n{SECOND}".encode(), base="", where="P")
    assert files == [File("pool/a.deb", 3, H), File("pool/b.deb", 4, H)]


def test_a_filename_in_a_description_does_not_count() -> None:
    text = FIRST.replace("Size", "Description: x\n Filename: pool/x.deb\n Size: 5\n .\nSize")
    assert read_index(IndexKind.PACKAGES, text.encode(), base="", where="P") == [File("pool/a.deb", 3, H)]


@pytest.mark.parametrize("name", ["./a.deb", "a b.deb", "é.deb", "..a", "x" * 255])
def test_rare_but_right_names_are_taken_by_the_careful_reader(name: str) -> None:
    text = FIRST.replace("pool/a.deb", name).encode()
    assert index._quick_packages(text + b"\n", "") is None or name == "x" * 255
    assert read_index(IndexKind.PACKAGES, text, base="", where="P")[0].path == name.removeprefix("./")


def test_a_name_that_is_not_utf8_survives() -> None:
    text = FIRST.replace("a.deb", "\udcff.deb").encode("utf-8", "surrogateescape")
    assert read_index(IndexKind.PACKAGES, text, base="d", where="P")[0].path == "d/pool/\udcff.deb"


@pytest.mark.parametrize("kind", IndexKind)
def test_an_empty_index_refers_to_nothing(kind: IndexKind) -> None:
    assert read_index(kind, b"", base="", where="P") == []


def test_debians_packages_is_read_whole_and_as_the_release_lists_it(in_release: bytes) -> None:
    release = parse_release(split_clearsigned(in_release, where="InRelease"), where="InRelease")
    listed = release.files["main/binary-amd64/Packages"]
    packed = DATA.joinpath("bookworm-main-amd64.Packages.xz").read_bytes()
    packages = decompress(packed, "Packages.xz", size=listed.size)
    check(packages, size=listed.size, sha256=listed.digest, where="Packages")
    files = read_index(IndexKind.PACKAGES, packages, base="", where="Packages")
    assert len(files) == 63_440 == len({file.path for file in files})
    assert files[0].path == "pool/main/0/0ad/0ad_0.0.26-3_amd64.deb" and files[0].size == 7891488
    assert files == index._careful_packages(packages, "", "Packages", 0, ignore)


def ignore(reason: str) -> None:
    """What is refused is not asked here."""


LINES = st.sampled_from(
    [
        *("Filename: pool/a.deb", "Filename: b", "filename: c", "Filename: /x", "Filename: dé", "Filename:"),
        *("Size: 3", "SIZE: 4", "Size: x", f"SHA256: {H}", f"sha256: {H}", "SHA256: 0"),
        *("Package: p", " Size: 5", "", " ", "x", "Filename : e", "SHA1: 0", "\r"),
    ]
)


def careful(text: bytes) -> list[File]:
    return index._careful_packages(text, "", "P", 0, ignore)


@given(st.lists(LINES, max_size=16) | st.lists(st.sampled_from([*FIRST.splitlines(), " x"]), max_size=10))
@settings(max_examples=500, deadline=None)
def test_the_quick_reader_never_contradicts_the_careful_one(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines) + "\n"
    for block in (text.encode(), f"{FIRST}\n{text}".encode(), f"{text}{FIRST}\n".encode()):
        assert index._quick_packages(block, "") in (None, careful(block))


@given(st.permutations(FIRST.splitlines()), st.permutations(FIRST.splitlines()))
@settings(max_examples=100, deadline=None)
def test_any_order_of_fields_gives_the_same_files(first: list[str], second: list[str]) -> None:
    text = "\n".join([*first, "", *second, ""]).encode()
    assert read_index(IndexKind.PACKAGES, text, base="", where="P") == [File("pool/a.deb", 3, H)] * 2


# --- Sources and pdiffs

SOURCE = f"""Package: a
Files:
 {"b" * 32} 3 a_1.dsc
Directory: pool/main/a/a
Checksums-Sha256:
 {H} 3 a_1.dsc
 {H} 4 a_1.tar.xz
"""


def test_sources_are_read() -> None:
    files = read_index(IndexKind.SOURCES, f"{SOURCE}\n".encode(), base="", where="S")
    assert files == [File("pool/main/a/a/a_1.dsc", 3, H), File("pool/main/a/a/a_1.tar.xz", 4, H)]


def test_sources_of_a_flat_repository_are_read() -> None:
    text = SOURCE.replace("pool/main/a/a", ".")
    assert [file.path for file in read_index(IndexKind.SOURCES, text.encode(), base="f", where="S")] == [
        "f/a_1.dsc",
        "f/a_1.tar.xz",
    ]


LIKE_SOURCE = {
    "no final newline": SOURCE.removesuffix("\n"),
    "CRLF": SOURCE.replace("\n", "\r\n"),
    "a Directory with a slash": SOURCE.replace("a/a\n", "a/a/\n"),
    "a Directory with a dot": SOURCE.replace("pool", "./pool"),
    "a Directory twice": "Directory: x\n" + SOURCE,
    "a name with a dot": SOURCE.replace("a_1.tar", "./a_1.tar"),
    "the first on the field's line": SOURCE.replace("Sha256:\n", "Sha256:"),
    "an empty list beside it": SOURCE + "Checksums-Sha512:\n",
    "a stanza without a list": SOURCE + "\nPackage: b\nDirectory: pool/b\n",
}


@pytest.mark.parametrize("text", LIKE_SOURCE.values(), ids=LIKE_SOURCE.keys())
def test_a_source_that_apt_can_use_gives_its_files(text: str) -> None:
    assert found(text, IndexKind.SOURCES) == found(SOURCE, IndexKind.SOURCES)


SOURCES_BY = {
    "SHA512": (SOURCE.replace("Sha256", "Sha512").replace(H, "5" * 128), "5" * 128),
    "MD5 alone": (SOURCE.partition("Checksums")[0], "b" * 32),
    "an empty list of SHA256": (SOURCE.partition("Checksums")[0] + "Checksums-Sha256:\n", "b" * 32),
}


@pytest.mark.parametrize(("text", "digest"), SOURCES_BY.values(), ids=SOURCES_BY.keys())
def test_the_strongest_list_of_a_source_counts(text: str, digest: str) -> None:
    files, refused = found(text, IndexKind.SOURCES)
    assert files[0] == File("pool/main/a/a/a_1.dsc", 3, digest) and not refused


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ("pool/main", "../..", 0),
        ("pool/main/a/a", "..", 0),
        (f" {H} 4 ", f" {H} ", 1),
        (f" {H} 4 ", " x 4 ", 1),
        (f" {H} 4 ", " \n x\n ", 1),
        ("a_1.tar.xz", "../../../../../a_1.tar.xz", 1),
    ],
)
def test_what_is_wrong_with_one_source_is_refused_alone(old: str, new: str, left: int) -> None:
    assert old in SOURCE
    files, refused = found(SOURCE.replace(old, new) + "\n" + SOURCE, IndexKind.SOURCES)
    assert len(files) == left + 2 and all(reason.startswith("I: stanza 1 ('a'): ") for reason in refused)
    assert refused


DIFF = f"""SHA256-Current: {H} 10
SHA256-History:
 {H} 9 T-1
SHA256-Patches:
 {H} 100 T-1
SHA256-Download:
 {H} 50 T-1.gz
"""


def test_the_patches_of_a_diff_index_are_those_on_disk() -> None:
    base = "dists/sid/main/binary-amd64/Packages.diff"
    assert read_index(IndexKind.DIFF_INDEX, DIFF.encode(), base=base, where="I") == [
        File(f"{base}/T-1.gz", 50, H)
    ]


def test_a_diff_index_without_hashes_of_its_files_refers_to_nothing() -> None:
    text = re.sub("SHA256-Download.*", "", DIFF, flags=re.DOTALL)
    assert read_index(IndexKind.DIFF_INDEX, text.encode(), base="d", where="I") == []


def test_a_patch_outside_its_directory_is_refused() -> None:
    files, refused = found(DIFF.replace("T-1.gz", "../T-1.gz"), IndexKind.DIFF_INDEX)
    assert not files and "leads out of the tree" in refused[0]


def test_the_patches_of_an_older_tool_are_known_by_sha1() -> None:
    text = DIFF.replace("SHA256-", "SHA1-").replace(H, "2" * 40)
    assert found(text, IndexKind.DIFF_INDEX) == ([File("T-1.gz", 50, "2" * 40)], [])


SUMS = f"""{H}  ./netboot/mini.iso
{"B" * 64} *cdrom/a b.gz

# by hand
{H}  ./SHA256SUMS
SHA256 (MANIFEST) = {H}
"""


@pytest.mark.parametrize("text", [SUMS, SUMS.removesuffix("\n"), SUMS.replace("\n", "\r\n")])
def test_the_images_of_an_installer_are_listed_as_gnu_and_bsd_do(text: str) -> None:
    files = read_index(IndexKind.CHECKSUMS, text.encode(), base="d/images", where="S")
    assert [(file.path, file.digest[0]) for file in files] == [
        ("d/images/netboot/mini.iso", "a"),
        ("d/images/cdrom/a b.gz", "b"),
        ("d/images/MANIFEST", "a"),
    ]
    assert {file.size for file in files} == {index.UNKNOWN}


@pytest.mark.parametrize("line", [H, f"{H[1:]}  x", "x", f"{H}  ../x", f"\\{H}  a\\nb", "total 3"])
def test_a_line_that_is_no_sum_is_refused_alone(line: str) -> None:
    files, refused = found(f"{H}  a\n{line}\n{H}  b\n", IndexKind.CHECKSUMS)
    assert [file.path for file in files] == ["a", "b"]
    assert len(refused) == 1 and refused[0].startswith("I:2: ")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("main/binary-amd64/Packages", IndexKind.PACKAGES),
        ("main/debian-installer/binary-amd64/Packages.xz", IndexKind.PACKAGES),
        ("Packages.zst", IndexKind.PACKAGES),
        ("main/source/Sources.gz", IndexKind.SOURCES),
        ("main/binary-amd64/Packages.diff/Index", IndexKind.DIFF_INDEX),
        ("main/Contents-amd64.diff/Index", IndexKind.DIFF_INDEX),
        ("main/Index", None),
        ("main/Contents-amd64.gz", None),
        ("main/XPackages", None),
        ("main/installer-amd64/current/images/SHA256SUMS", IndexKind.CHECKSUMS),
        ("main/SHA256SUMS", None),
    ],
)
def test_the_kind_of_an_index_is_in_its_name(path: str, kind: IndexKind | None) -> None:
    assert kind_of(path) is kind
