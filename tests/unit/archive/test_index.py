import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushmirror.archive import index
from pushmirror.archive.clearsigned import split_clearsigned
from pushmirror.archive.contents import check, decompress
from pushmirror.archive.index import File, IndexKind, kind_of, read_index
from pushmirror.archive.release import parse_release
from pushmirror.errors import BadPath, MalformedFile

from .conftest import DATA

H = "a" * 64
FIRST = f"Package: a\nFilename: pool/a.deb\nSize: 3\nSHA256: {H}\n"
SECOND = f"Package: b\nfilename:pool/b.deb\nSIZE:\t4 \nDescription: x\n .\n y\nSha256: {H.upper()}\n"

BAD_PACKAGES = {
    "no Filename": FIRST.replace("Filename", "File"),
    "no Size": FIRST.replace("Size: 3\n", ""),
    "no SHA256": FIRST.replace("SHA256", "SHA1"),
    "a Filename twice": FIRST + "Filename: pool/a.deb\n",
    "a Size twice, in another case": FIRST + "size: 3\n",
    "one doubled, one missing": FIRST + "Filename: x\n\n" + FIRST.replace("Filename: pool/a.deb\n", ""),
    "a folded Filename": FIRST.replace("a.deb", "a.deb\n b"),
    "a folded SHA256": FIRST + " b\n",
    "an empty Filename": FIRST.replace("pool/a.deb", ""),
    "a Filename that climbs": FIRST.replace("pool/", "pool/../"),
    "an absolute Filename": FIRST.replace("pool/", "/pool/"),
    "a control character": FIRST.replace("a.deb", "a\x1b.deb"),
    "a carriage return": FIRST.replace("\n", "\r\n"),
    "a size that is none": FIRST.replace("3", "3k"),
    "a negative size": FIRST.replace("3", "-3"),
    "an absurd size": FIRST.replace(": 3\n", f": {2**50 + 1}\n"),
    "an underscore in a size": FIRST.replace("3", "1_000"),
    "a short hash": FIRST.replace(H, H[1:]),
    "no hexadecimal digits": FIRST.replace(H, "x" * 64),
    "cut in a line": FIRST[:-5],
    "cut between lines": FIRST.partition("Size")[0],
    "no field": "hello\n",
    "only a continuation": " x\n",
    "white space before the colon": FIRST.replace("Size:", "Size :"),
    "a blank that does not end": FIRST + " \n" + FIRST,
}


@pytest.mark.parametrize("text", BAD_PACKAGES.values(), ids=BAD_PACKAGES.keys())
@pytest.mark.parametrize("before", ["", FIRST + "\n"], ids=["alone", "second"])
def test_a_malformed_packages_is_refused(before: str, text: str) -> None:
    with pytest.raises(MalformedFile, match=r"^main/Packages"):
        read_index(IndexKind.PACKAGES, (before + text).encode(), base="", where="main/Packages")


def test_an_error_names_the_stanza_and_the_package() -> None:
    text = FIRST + "\n" + FIRST.replace("Size", "Length")
    with pytest.raises(MalformedFile, match=r"^P: stanza 2 \('a'\): no field Size$"):
        read_index(IndexKind.PACKAGES, text.encode(), base="", where="P")


def test_an_error_names_the_stanza_even_far_behind() -> None:
    text = (FIRST + "\n") * 20_000 + "Size: 1\n"
    with pytest.raises(MalformedFile, match=r"^P: stanza 20001: no field Filename"):
        read_index(IndexKind.PACKAGES, text.encode(), base="", where="P")


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
    assert files == index._careful_packages(packages, "", "Packages", 0)


LINES = st.sampled_from(
    [
        *("Filename: pool/a.deb", "Filename: b", "filename: c", "Filename: /x", "Filename: dé", "Filename:"),
        *("Size: 3", "SIZE: 4", "Size: x", f"SHA256: {H}", f"sha256: {H}", "SHA256: 0"),
        *("Package: p", " Size: 5", "", " ", "x"),
    ]
)


def careful(text: bytes) -> list[File] | None:
    try:
        return index._careful_packages(text, "", "P", 0)
    except MalformedFile:
        return None


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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Directory: pool/main/a/a\n", ""),
        ("pool/main", ".."),
        ("Checksums-Sha256", "Checksums-Sha512"),
        ("Sha256:\n", "Sha256: x\n"),
        (f" {H} 4 ", f" {H} "),
        ("a_1.tar.xz", "../a_1.tar.xz"),
        ("Package: a", "Directory: x"),
        ("a_1.tar.xz\n", "a_1.tar.xz"),
    ],
)
def test_a_malformed_sources_is_refused(old: str, new: str) -> None:
    assert old in SOURCE
    with pytest.raises(MalformedFile, match=r"^S: "):
        read_index(IndexKind.SOURCES, SOURCE.replace(old, new).encode(), base="", where="S")


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
    with pytest.raises(BadPath):
        read_index(IndexKind.DIFF_INDEX, DIFF.replace("T-1.gz", "../T-1.gz").encode(), base="d", where="I")


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
