from datetime import UTC, datetime

import pytest

from pushmirror.archive.release import parse_release, split_clearsigned, suite_text_agrees
from pushmirror.errors import MalformedFile

H = "a" * 64
HEAD = b"Origin: X\nSuite: s\n"
GOOD = HEAD + f"SHA256:\n {H} 3 main/Packages\n".encode()

BAD = {
    "no SHA256 section": b"Origin: X\nMD5Sum:\n",
    "a field twice": GOOD + b"suite: t\n",
    "an entry twice": GOOD + f" {H} 4 main/Packages\n".encode(),
    "a negative size": HEAD + f"SHA256:\n {H} -3 a\n".encode(),
    "an absurd size": HEAD + f"SHA256:\n {H} {2**50 + 1} a\n".encode(),
    "a size in other digits": HEAD + f"SHA256:\n {H} \u0663 a\n".encode(),
    "a short hash": HEAD + b"SHA256:\n abc 3 a\n",
    "no hexadecimal digits": HEAD + b"SHA256:\n " + b"x" * 64 + b" 3 a\n",
    "a column missing": HEAD + f"SHA256:\n {H} 3\n".encode(),
    "a column too many": HEAD + f"SHA256:\n {H} 3 a b\n".encode(),
    "entries on the field's line": HEAD + f"SHA256: {H} 3 a\n".encode(),
    "a path that climbs": HEAD + f"SHA256:\n {H} 3 ../a\n".encode(),
    "sizes that differ": GOOD + b"MD5Sum:\n " + b"b" * 32 + b" 4 main/Packages\n",
    "not UTF-8": b"Origin: \xff\n" + GOOD,
    "no field at all": b"hello\n" + GOOD,
    "a blank in a name": b"Or igin: X\n" + GOOD,
    "a continuation of nothing": b" x\n" + GOOD,
    "a second paragraph": GOOD + b"\nLabel: X\n",
    "a date that is none": b"Date: yesterday\n" + GOOD,
    "a month that is none": b"Date: Sat, 11 Foo 2026 10:16:37 UTC\n" + GOOD,
    "a day that is none": b"Date: Sat, 31 Feb 2026 10:16:37 UTC\n" + GOOD,
    "an offset that is none": b"Date: Sat, 11 Jul 2026 10:16:37 +9999\n" + GOOD,
    "armor": b"-----BEGIN PGP SIGNED MESSAGE-----\n" + GOOD,
    "nothing": b"",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_malformed_release_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"^s/Release"):
        parse_release(data, where="s/Release")


def test_an_error_names_the_line() -> None:
    with pytest.raises(MalformedFile, match=r"^s/Release:5: expected 'hash size path'"):
        parse_release(GOOD + b" broken\n", where="s/Release")


def test_debians_release_is_read(in_release: bytes) -> None:
    release = parse_release(split_clearsigned(in_release, where="InRelease"), where="InRelease")
    assert (release.origin, release.suite, release.codename) == ("Debian", "oldstable", "bookworm")
    assert release.date == datetime(2026, 7, 11, 10, 16, 37, tzinfo=UTC) and release.valid_until is None
    assert release.acquire_by_hash and release.components[0] == "main" and "s390x" in release.architectures
    packages = release.files["main/binary-amd64/Packages"]
    assert packages.size == 50060337 and packages.digest.startswith("515e692f")
    assert packages.others == (("MD5Sum", "f230d61720e789abf5df55d6026230c6"),)


def test_a_release_may_list_nothing() -> None:
    assert not parse_release(b"SHA256:\n", where="Release").files


def test_what_only_a_weak_section_lists_is_not_listed() -> None:
    release = parse_release(GOOD + b"MD5sum:\n " + b"b" * 32 + b" 4 other\n", where="Release")
    assert list(release.files) == ["main/Packages"]


@pytest.mark.parametrize("zone", ["UTC", "GMT", "Z", "+0000", "-0000"])
def test_a_date_is_read_in_all_spellings_of_utc(zone: str) -> None:
    release = parse_release(f"Valid-Until: Sat, 1 Jul 2026 9:16:37 {zone}\n".encode() + GOOD, where="Release")
    assert release.valid_until == datetime(2026, 7, 1, 9, 16, 37, tzinfo=UTC)


def test_a_date_elsewhere_is_read_as_utc() -> None:
    release = parse_release(b"Date: 11 Jul 2026 10:16:37 +0230\n" + GOOD, where="Release")
    assert release.date == datetime(2026, 7, 11, 7, 46, 37, tzinfo=UTC)


# --- InRelease

BEGIN, SIGNATURE, END = (
    f"-----{words}-----\n".encode()
    for words in ("BEGIN PGP SIGNED MESSAGE", "BEGIN PGP SIGNATURE", "END PGP SIGNATURE")
)
TAIL = SIGNATURE + b"\niQ==\n=AfjX\n" + END


def message(text: bytes) -> bytes:
    return BEGIN + b"Hash: SHA256\n\n" + text + TAIL


BAD_MESSAGES = {
    "nothing": b"",
    "no armor": GOOD,
    "a line before": b"\n" + message(GOOD),
    "text before": GOOD + message(GOOD),
    "text after": message(GOOD) + GOOD,
    "a second message": message(GOOD) + message(GOOD),
    "a second beginning": message(GOOD + BEGIN),
    "another header": message(GOOD).replace(b"Hash: SHA256", b"Origin: X"),
    "no empty line": BEGIN + GOOD + TAIL,
    "a blank in the empty line": message(GOOD).replace(b"SHA256\n\n", b"SHA256\n \n", 1),
    "an unescaped dash": message(b"-x\n" + GOOD),
    "a lone dash": message(b"-\n" + GOOD),
    "no signature": BEGIN + b"\n" + GOOD,
    "an open signature": message(GOOD).removesuffix(END),
    "text in the signature": message(GOOD).replace(b"=AfjX", b"Origin: X"),
    "a header that does not end": BEGIN + b"Hash: SHA256\n",
}


@pytest.mark.parametrize("data", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_a_message_that_is_not_just_one_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"^InRelease"):
        split_clearsigned(data, where="InRelease")


def test_the_signed_text_is_what_the_signature_covers() -> None:
    text = split_clearsigned(message(b"a \t\r\n- -dash\n- \n\nlast\n") + b"\n \n", where="InRelease")
    assert text == b"a\n-dash\n\n\nlast\n"


def test_the_hash_header_may_be_missing() -> None:
    assert split_clearsigned(message(GOOD).replace(b"Hash: SHA256\n", b""), where="InRelease") == GOOD


def test_white_space_at_the_ends_does_not_make_release_and_inrelease_differ() -> None:
    assert suite_text_agrees(message(GOOD), GOOD.replace(b"X\n", b"X \n") + b"\n\n")


def test_another_text_makes_release_and_inrelease_differ() -> None:
    assert not suite_text_agrees(message(GOOD), GOOD.replace(b"X", b"Y"))
    assert not suite_text_agrees(message(GOOD), GOOD + b"Label: X\n")
