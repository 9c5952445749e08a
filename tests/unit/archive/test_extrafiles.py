import pytest

from pushmirror.archive.extrafiles import parse_extrafiles
from pushmirror.errors import BadPath, MalformedFile

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


@pytest.mark.parametrize("line", ["", A, f"{A} README", f"{A[1:]}  README", "README", f"{A}\tREADME"])
def test_what_is_no_such_line_is_refused(line: str) -> None:
    with pytest.raises(MalformedFile, match="extrafiles:2: expected 'hash  path'"):
        parsed(f"{A}  README", line)


@pytest.mark.parametrize("path", ["../README", "/etc/passwd", "a//b", "a\x1bb"])
def test_a_path_out_of_the_tree_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        parsed(f"{A}  {path}")


def test_a_contradiction_is_refused() -> None:
    with pytest.raises(MalformedFile, match="README again"):
        parsed(f"{A}  README", f"{B}  README")


def test_a_list_that_is_not_signed_is_refused() -> None:
    with pytest.raises(MalformedFile):
        parse_extrafiles(f"{A}  README\n".encode(), where="extrafiles")
