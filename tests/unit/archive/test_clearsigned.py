import pytest

from pushmirror.archive.signature import open_clearsigned, split_clearsigned, suite_text_agrees
from pushmirror.errors import MalformedFile

from .test_release import GOOD

BEGIN, SIGNATURE, END = (
    f"-----{words}-----\n".encode()
    for words in ("BEGIN PGP SIGNED MESSAGE", "BEGIN PGP SIGNATURE", "END PGP SIGNATURE")
)
TAIL = SIGNATURE + b"\niQ==\n=AfjX\n" + END


def message(text: bytes) -> bytes:
    return BEGIN + b"Hash: SHA256\n\n" + text + TAIL


BAD_MESSAGES = {
    "nothing": b"",
    "its first line alone": BEGIN,
    "its first line, cut off": BEGIN.rstrip(),
    "no armor": GOOD,
    "a line before": b"\n" + message(GOOD),
    "text before": GOOD + message(GOOD),
    "text after": message(GOOD) + GOOD,
    "a second message": message(GOOD) + message(GOOD),
    "a second beginning": message(GOOD + BEGIN),
    "no empty line": BEGIN + GOOD + TAIL,
    "an unescaped dash": message(b"-x\n" + GOOD),
    "a lone dash": message(b"-\n" + GOOD),
    "no signature": BEGIN + b"\n" + GOOD,
    "an open signature": message(GOOD).removesuffix(END),
    "a message in the signature": message(GOOD).replace(b"=AfjX\n", BEGIN),
    "text between two signatures": message(GOOD) + b"x\n" + TAIL,
    "a header that does not end": BEGIN + b"Hash: SHA256\n",
}


@pytest.mark.parametrize("data", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_a_message_that_is_not_just_one_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"^InRelease"):
        split_clearsigned(data, where="InRelease")


def test_the_signed_text_is_what_the_signature_covers() -> None:
    text = split_clearsigned(message(b"a \t\r\n- -dash\n- \n\nlast\n") + b"\n \n", where="InRelease")
    assert text == b"a\n-dash\n\n\nlast\n"


LIKE_GOOD = {
    "no header": message(GOOD).replace(b"Hash: SHA256\n", b""),
    "several headers": message(GOOD).replace(b"Hash: SHA256\n", b"Hash: SHA256\nHash: MD5\nVersion: x y\n"),
    "no final newline": message(GOOD).removesuffix(b"\n"),
    "blank lines behind": message(GOOD) + b"\n \n",
    "CRLF": message(GOOD).replace(b"\n", b"\r\n"),
    "a blank in the empty line": message(GOOD).replace(b"SHA256\n\n", b"SHA256\n \n", 1),
    "blanks behind the armor": message(GOOD).replace(b"-----\n", b"----- \n"),
    "headers of the signature": message(GOOD).replace(b"\n\niQ", b"\nVersion: BCPG v1.71\nIssuer: x\n\niQ"),
    "two signatures": message(GOOD) + TAIL,
    "a text that is escaped everywhere": message(b"".join(b"- " + line for line in GOOD.splitlines(True))),
}


@pytest.mark.parametrize("data", LIKE_GOOD.values(), ids=LIKE_GOOD.keys())
def test_the_text_is_the_same_however_a_tool_wraps_it(data: bytes) -> None:
    opened = open_clearsigned(data, where="InRelease")
    assert opened.text == GOOD and opened.signed == GOOD.removesuffix(b"\n")
    assert opened.signature.count(b"iQ==\n") == data.count(b"iQ==")


def test_white_space_at_the_ends_does_not_make_release_and_inrelease_differ() -> None:
    assert suite_text_agrees(message(GOOD), GOOD.replace(b"X\n", b"X \n") + b"\n\n")


def test_another_text_makes_release_and_inrelease_differ() -> None:
    assert not suite_text_agrees(message(GOOD), GOOD.replace(b"X", b"Y"))
    assert not suite_text_agrees(message(GOOD), GOOD + b"Label: X\n")
