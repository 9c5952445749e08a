from datetime import UTC, datetime

import pytest

from pushmirror.archive.signature import judge
from pushmirror.errors import BadSignature, KeyExpired

FPR, PRIMARY, OTHER = "A" * 40, "B" * 40, "C" * 40
KEY, OTHER_KEY = FPR[-16:], OTHER[-16:]


def valid(
    fingerprint: str = FPR, *, time: str = "1783765000", hash_algorithm: int = 8, primary: str = PRIMARY
) -> str:
    return f"VALIDSIG {fingerprint} 2026-07-11 {time} 0 4 0 1 {hash_algorithm} 01 {primary}"


GOOD = (
    f"NEWSIG\nKEY_CONSIDERED {PRIMARY} 0\nSIG_ID x 2026-07-11 1\nGOODSIG {KEY} X <x@example.org>\n{valid()}\n"
)
UNKNOWN = f"NEWSIG\nERRSIG {OTHER_KEY} 1 8 01 1783765000 9 {OTHER}\nNO_PUBKEY {OTHER_KEY}\n"


def lines(*parts: str) -> str:
    return "".join(f"[GNUPG:] {line}\n" for part in parts for line in part.splitlines())


def test_one_good_signature_is_enough() -> None:
    signature = judge(lines(GOOD), where="InRelease")
    assert signature.keys == (PRIMARY,)
    assert signature.made_at == datetime.fromtimestamp(1783765000, UTC)


@pytest.mark.parametrize("parts", [(GOOD, UNKNOWN), (UNKNOWN, GOOD), (UNKNOWN, GOOD, UNKNOWN)])
def test_keys_that_are_unknown_do_not_matter_beside_a_good_one(parts: tuple[str, ...]) -> None:
    assert judge(lines(*parts), where="InRelease").keys == (PRIMARY,)


def test_several_good_signatures_are_all_named() -> None:
    second = f"NEWSIG\nGOODSIG {OTHER_KEY} y\n{valid(OTHER, time='20260712T000000', primary=OTHER)}\n"
    signature = judge(lines(GOOD, second), where="InRelease")
    assert signature.keys == (PRIMARY, OTHER)
    assert signature.made_at == datetime(2026, 7, 12, tzinfo=UTC)


BAD = {
    "nothing": ("", "gpgv reported none"),
    "no status lines": ("gpgv: Good signature\n", "gpgv reported none"),
    "a status line elsewhere": (f"x [GNUPG:] GOODSIG {KEY} x\n", "gpgv reported none"),
    "no data": (lines("NODATA 3"), "no signature found"),
    "unexpected data": (lines("UNEXPECTED 0", GOOD), "malformed signature"),
    "a bad one": (lines(f"NEWSIG\nBADSIG {KEY} x"), KEY),
    "a bad one after a good one": (lines(GOOD, f"NEWSIG\nBADSIG {OTHER_KEY} x"), OTHER_KEY),
    "an expired signature": (
        lines(f"NEWSIG\nEXPSIG {KEY} x\n{valid()}"),
        f"{KEY}: the signature has expired",
    ),
    "an expired key": (lines(f"NEWSIG\nEXPKEYSIG {KEY} x\n{valid()}"), f"{KEY}: the key has expired"),
    "a revoked key": (lines(f"NEWSIG\nREVKEYSIG {KEY} x\n{valid()}"), f"{KEY}: the key was revoked"),
    "an unknown key": (lines(UNKNOWN), f"{OTHER_KEY}: the key is not in the keyring"),
    "good but not valid": (lines(f"NEWSIG\nGOODSIG {KEY} x"), "gpgv reported none"),
    "valid but not good": (lines(f"NEWSIG\n{valid()}"), "gpgv reported none"),
    "good, valid for another": (lines(f"NEWSIG\nGOODSIG {KEY} x\n{valid(OTHER)}"), "contradict each other"),
    "good and valid in two signatures": (
        lines(f"NEWSIG\nGOODSIG {KEY} x\nNEWSIG\n{valid()}"),
        "gpgv reported none",
    ),
    "a weak hash": (
        lines(f"NEWSIG\nGOODSIG {KEY} x\n{valid(hash_algorithm=2)}"),
        "SHA1, which can be forged",
    ),
    "a time that is none": (lines(f"NEWSIG\nGOODSIG {KEY} x\n{valid(time='x')}"), "contradict each other"),
}


@pytest.mark.parametrize(("status", "message"), BAD.values(), ids=BAD.keys())
def test_anything_else_is_refused(status: str, message: str) -> None:
    with pytest.raises(BadSignature, match=message):
        judge(status, where="InRelease")


EXPIRED = f"NEWSIG\nKEYEXPIRED 1591012800\nEXPKEYSIG {OTHER_KEY} y\n{valid(OTHER, time='1580515200')}\n"


def test_a_key_that_expired_after_it_signed_does_not_count_as_for_apt() -> None:
    with pytest.raises(KeyExpired, match=r"has expired on 2020-06-01; it signed on 2020-02-01\)$"):
        judge(lines(UNKNOWN, EXPIRED), where="InRelease")


@pytest.mark.parametrize("parts", [(GOOD, EXPIRED), (EXPIRED, GOOD)])
def test_beside_a_good_signature_an_expired_key_is_only_named(parts: tuple[str, ...]) -> None:
    signature = judge(lines(*parts), where="InRelease")
    assert signature.keys == (PRIMARY,)
    (other,) = signature.others
    assert other.startswith(f"{OTHER_KEY}: the key has expired on 2020-06-01")


def test_a_name_that_looks_like_a_status_is_a_name() -> None:
    with pytest.raises(BadSignature):
        judge(lines(f"NEWSIG\nEXPKEYSIG {KEY} [GNUPG:] GOODSIG {KEY}\n{valid()}"), where="InRelease")
