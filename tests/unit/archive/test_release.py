from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings

from pushmirror.archive.release import MAX_LISTED, Listed, Release, parse_release
from pushmirror.archive.signature import split_clearsigned
from pushmirror.errors import ArchiveError, MalformedFile, NotASuite

from .edits import EDITS, edited

A, B = "a" * 64, "b" * 64
MD5, SHA1, SHA512 = "1" * 32, "2" * 40, "5" * 128
HEAD = b"Origin: X\nSuite: s\n"
GOOD = HEAD + f"SHA256:\n {A} 3 main/Packages\n".encode()
PACKAGES = Listed("main/Packages", 3, A)


def parsed(data: bytes | str) -> Release:
    return parse_release(data if isinstance(data, bytes) else data.encode(), where="s/Release")


BAD = {
    "nothing": b"",
    "no field at all": b"hello\n" * 3,
    "a page of a web server": b"<!DOCTYPE html>\n<html>404: not found</html>\n",
    "armor": b"-----BEGIN PGP SIGNED MESSAGE-----\n" + GOOD,
    "cut in a hash": GOOD + b" 01234",
    "cut in a size": GOOD + f" {B} 1".encode(),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_is_no_release_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"^s/Release"):
        parsed(data)


@pytest.mark.parametrize(("number", "is_read"), [(MAX_LISTED, True), (MAX_LISTED + 1, False)])
def test_the_number_of_files_is_bounded(number: int, is_read: bool) -> None:
    data = HEAD + b"SHA256:\n" + b"".join(b" %064x 1 a/%d\n" % (name, name) for name in range(number))
    if is_read:
        assert len(parsed(data).files) == number
    else:
        with pytest.raises(
            MalformedFile, match=r"^s/Release: expected at most 100000 files in SHA256, found 1000"
        ):
            parsed(data)


NO_SUITES = {
    "a component": b"Archive: s\nComponent: main\nOrigin: X\nArchitecture: amd64\n",
    "hashes in a second paragraph": HEAD + b"\n" + GOOD.removeprefix(HEAD),
}


@pytest.mark.parametrize("data", NO_SUITES.values(), ids=NO_SUITES.keys())
def test_a_release_without_hashes_is_not_a_suite(data: bytes) -> None:
    with pytest.raises(NotASuite, match=r"^s/Release: lists no files"):
        parsed(data)


LIKE_GOOD = {
    "another list of itself": GOOD + f" {B} 4 Release\n {B} 4 ./InRelease\n {B} 4 Release.gpg\n".encode(),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "a second paragraph": GOOD + f"\nSuite: t\nSHA256:\n {B} 4 x\n".encode(),
    "a blank line before": b"\n" + GOOD,
    "CRLF": GOOD.replace(b"\n", b"\r\n"),
    "CRLF and a second paragraph": (GOOD + b"\nSuite: t\n").replace(b"\n", b"\r\n"),
    "blanks at the ends": GOOD.replace(b"\n", b" \t\n"),
    "no final newline": GOOD.removesuffix(b"\n"),
    "tabs": GOOD.replace(b"\n ", b"\n\t").replace(b" 3 ", b"\t\t3\t"),
    "fields in lower case": GOOD.replace(b"SHA256", b"sha256").replace(b"Origin", b"origin"),
    "a blank before the colon": GOOD.replace(b"SHA256:", b"SHA256 :"),
    "the first entry on the field's line": GOOD.replace(b"SHA256:\n ", b"SHA256: "),
    "hashes in upper case": GOOD.replace(A.encode(), A.upper().encode()),
    "a comment": b"# made: by hand\n# or so\n" + GOOD,
    "a line that is no field": b"hello\n" + GOOD,
    "a continuation of nothing": b" x\n" + GOOD,
    "a field twice, of which the last counts": b"Origin: Y\nSuite: t\nSHA256:\n x\n" + GOOD,
    "an entry twice": GOOD + f" {A} 3 main/Packages\n".encode(),
    "bytes that are not UTF-8": b"Description: \xff\x00\n" + GOOD,
    "a path with a dot": GOOD.replace(b"main", b"./main"),
    "a path with a dot inside": GOOD.replace(b"main", b"main/."),
    "a path with two slashes": GOOD.replace(b"main/", b"main//"),
    "an absolute path": GOOD.replace(b"main", b"/main"),
    "a path that climbs inside": GOOD.replace(b"main", b"contrib/../main"),
    "a weaker section that is empty": GOOD + b"MD5Sum:\n",
    "an entry that only a weaker section has": GOOD + f"MD5Sum:\n {MD5} 4 other\n".encode(),
}


@pytest.mark.parametrize("data", LIKE_GOOD.values(), ids=LIKE_GOOD.keys())
def test_what_apt_makes_nothing_of_changes_nothing(data: bytes) -> None:
    release = parsed(data)
    assert (release.origin, release.suite, release.weak) == ("X", "s", "")
    assert dict(release.files) == {"main/Packages": PACKAGES}


REFUSED = {
    "a negative size": (f"{B} -3 a", "expected a size"),
    "an absurd size": (f"{B} {2**50 + 1} a", "expected a size"),
    "a size in other digits": (f"{B} \u0663 a", "expected a size"),
    "a short hash": ("abc 3 a", "expected a SHA256 hash"),
    "no hexadecimal digits": (f"{'x' * 64} 3 a", "expected a SHA256 hash"),
    "a column missing": (f"{B} a", "expected 'hash size path'"),
    "a path that climbs out": (f"{B} 3 ../a", "leads out of the tree"),
    "a path that climbs out later": (f"{B} 3 a/../../b", "leads out of the tree"),
    "a directory": (f"{B} 3 main/binary-amd64/", "names a directory"),
    "no path": (f"{B} 3 /", "is empty"),
    "a control character": (f"{B} 3 a\x1b[2J", "has a control character"),
    "an entry again, otherwise": (f"{B} 4 main/Packages", "using the first"),
}


@pytest.mark.parametrize(("line", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_entry_that_is_wrong_is_refused_alone(line: str, reason: str) -> None:
    release = parsed(GOOD + f" {line}\n {B} 5 last\n".encode())
    assert [entry.path for entry in release.files.values()] == ["main/Packages", "last"]
    assert release.files["main/Packages"] == PACKAGES
    (refused,) = release.refused
    assert refused.startswith("s/Release:5: ") and reason in refused


def test_a_path_may_have_blanks_in_it() -> None:
    assert "icons  64.tar" in parsed(GOOD + f" {B} 4 icons  64.tar\n".encode()).files


def section(name: str, digest: str, size: int = 3) -> str:
    return f"{name}:\n {digest} {size} Packages\n"


STRONGEST = {
    "SHA512 alone": (section("SHA512", SHA512), SHA512, ""),
    "SHA256 before SHA512": (section("SHA512", SHA512, 4) + section("SHA256", A), A, ""),
    "another size in a weaker section": (section("MD5Sum", MD5, 4) + section("SHA256", A), A, ""),
    "MD5 alone": (section("MD5sum", MD5), MD5, "MD5Sum"),
    "SHA1 and MD5": (section("MD5Sum", MD5, 4) + section("SHA1", SHA1), SHA1, "SHA1"),
    "an empty SHA256 section": ("SHA256:\n" + section("SHA1", SHA1), SHA1, "SHA1"),
}


@pytest.mark.parametrize(("text", "digest", "weak"), STRONGEST.values(), ids=STRONGEST.keys())
def test_the_strongest_hash_counts(text: str, digest: str, weak: str) -> None:
    release = parsed(text)
    assert release.weak == weak
    assert [(entry.size, entry.digest) for entry in release.files.values()] == [(3, digest)]


def test_the_other_hashes_are_known_too() -> None:
    (entry,) = parsed(section("SHA512", SHA512) + section("SHA256", A)).files.values()
    assert entry.others == (("SHA512", SHA512),)


def test_debians_release_is_read(in_release: bytes) -> None:
    release = parse_release(split_clearsigned(in_release, where="InRelease"), where="InRelease")
    assert (release.origin, release.suite, release.codename) == ("Debian", "oldstable", "bookworm")
    assert release.date == datetime(2026, 7, 11, 10, 16, 37, tzinfo=UTC) and release.valid_until is None
    assert release.acquire_by_hash and "s390x" in release.architectures
    packages = release.files["main/binary-amd64/Packages"]
    assert packages.size == 50060337 and packages.digest.startswith("515e692f")
    assert packages.others == (("MD5Sum", "f230d61720e789abf5df55d6026230c6"),)
    assert not release.refused and not release.weak


@pytest.mark.parametrize("name", ["SHA256", "SHA512", "MD5Sum"])
def test_a_release_may_list_nothing(name: str) -> None:
    release = parsed(f"{name}:\n")
    assert not release.files and not release.weak


@pytest.mark.parametrize("field", ["Date", "Valid-Until"])
def test_a_date_that_is_none_is_no_fault(field: str) -> None:
    release = parsed(f"{field}: yesterday\n".encode() + GOOD)
    assert (release.date, release.valid_until) == (None, None)


def test_what_is_not_utf8_can_be_shown() -> None:
    assert parsed(b"Codename: Universit\xe4t\n" + GOOD).codename == "Universit\ufffdt"


@given(edits=EDITS)
@settings(max_examples=50, deadline=None)
def test_debians_inrelease_may_be_damaged_anywhere(
    in_release: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    with suppress(ArchiveError):
        parse_release(split_clearsigned(edited(in_release, edits), where="InRelease"), where="InRelease")
