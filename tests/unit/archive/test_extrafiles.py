import pytest

from pushmirror.archive.checksum_lists import parse_extrafiles
from pushmirror.errors import MalformedFile

A, B = "a" * 64, "B" * 64


def signed(*lines: str) -> bytes:
    body = "".join(f"{line}\n" for line in lines)
    head = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
    return f"{head}{body}-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n".encode()


def parsed(*lines: str) -> dict[str, str]:
    return parse_extrafiles(signed(*lines), where="extrafiles")


def test_each_line_is_a_hash_and_a_path() -> None:
    assert parsed(f"{A}  README", f"{B}  doc/00-INDEX", f"{A} *tools/a b.zip", f"{A}  README") == {
        "README": A,
        "doc/00-INDEX": B.lower(),
        "tools/a b.zip": A,
    }


def test_a_list_may_be_empty() -> None:
    assert parsed() == {}


@pytest.mark.parametrize("line", ["", "  ", "# a comment", f"{B}  extrafiles", f"{B}  ./extrafiles"])
def test_a_line_that_says_nothing_is_passed_over(line: str) -> None:
    assert parsed(f"{A}  README", line) == {"README": A}


def test_bsd_writes_its_lines_otherwise() -> None:
    assert parsed(f"SHA256 (doc/README) = {B}") == {"doc/README": B.lower()}


REFUSED = {
    "no path": A,
    "a short hash": f"{A[1:]}  doc/x",
    "no hash": "README",
    "a path out of the tree": f"{A}  ../README",
    "a control character": f"{A}  a\x1bb",
    "a directory": f"{A}  doc/",
    "a contradiction": f"{B}  README",
}


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_with_a_line_costs_that_line(line: str) -> None:
    refused: list[str] = []
    lines = (f"{A}  README", line, f"{A}  doc/y")
    found = parse_extrafiles(signed(*lines), where="extrafiles", refused=refused.append)
    assert found == {"README": A, "doc/y": A} and len(refused) == 1


def test_a_list_that_is_not_signed_is_refused() -> None:
    with pytest.raises(MalformedFile):
        parse_extrafiles(f"{A}  README\n".encode(), where="extrafiles")
