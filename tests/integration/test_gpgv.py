import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pushmirror.archive.signature import Signature, judge, split_clearsigned
from pushmirror.errors import BadSignature
from pushmirror.system import process
from pushmirror.tree.release_signatures import check_clearsigned, check_keyrings, fingerprint

DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
IN_RELEASE = Path(__file__).parents[1] / "data" / "archive" / "bookworm.InRelease"
TEXT = b"Origin: Test\n- dash\ntrailing \nSHA256:\n"
IN_2020 = "--faked-system-time=20200101T120000"


def verdict(keyring: Path, *files: Path) -> Signature:
    argv = ["gpgv", "--status-fd", "1", "--keyring", str(keyring), *map(str, files)]
    return judge(process.run(argv, timeout_s=60).output.decode(), where=files[0].name)


class Signer:
    """A gpg home of its own, with keys that are made as they are named."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def gpg(self, *args: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--pinentry-mode", "loopback"]
        return process.run([*argv, "--passphrase", "", *args], stdin=stdin, timeout_s=120).check().output

    def make_key(self, name: str, *args: str, expire: str = "never") -> None:
        self.gpg(*args, "--quick-generate-key", f"{name}@example.org", "ed25519", "sign", expire)

    def fingerprint(self, name: str) -> str:
        listing = self.gpg("--with-colons", "--list-keys", f"{name}@example.org").decode()
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))

    def keyring(self, *names: str) -> Path:
        path = self.home / f"{'-'.join(names)}.gpg"
        path.write_bytes(self.gpg("--export", *(f"{name}@example.org" for name in names)))
        return path

    def signed(self, *names: str, extra: tuple[str, ...] = (), text: bytes = TEXT) -> Path:
        path = self.home / "InRelease"
        signers = [word for name in names for word in ("--local-user", f"{name}@example.org")]
        path.write_bytes(self.gpg(*extra, *signers, "--clearsign", stdin=text))
        return path


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    home = Path(tempfile.mkdtemp(prefix="gpg-"))  # short: the agent's socket is in it
    home.chmod(0o700)
    try:
        signer = Signer(home)
        signer.make_key("one")
        signer.make_key("two")
        signer.make_key("old", IN_2020)
        signer.make_key("expired", IN_2020, expire="1d")
        yield signer
    finally:
        process.run(["gpgconf", "--homedir", str(home), "--kill", "all"], timeout_s=60)
        shutil.rmtree(home)


def test_debians_inrelease_is_signed_by_debians_keys() -> None:
    signature = verdict(DEBIAN_KEYRING, IN_RELEASE)
    assert signature.keys and all(len(key) == 40 for key in signature.keys)
    assert signature.made_at.date() == datetime(2026, 7, 11, tzinfo=UTC).date()


def test_debians_inrelease_with_another_byte_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "InRelease"
    changed.write_bytes(IN_RELEASE.read_bytes().replace(b"Label: Debian", b"Label: debian", 1))
    with pytest.raises(BadSignature, match="the text was changed after signing"):
        verdict(DEBIAN_KEYRING, changed)


def test_one_known_key_of_two_is_enough(signer: Signer) -> None:
    assert verdict(signer.keyring("one"), signer.signed("two", "one")).keys == (signer.fingerprint("one"),)


def test_both_keys_are_named_when_both_are_known(signer: Signer) -> None:
    assert len(verdict(signer.keyring("one", "two"), signer.signed("one", "two")).keys) == 2


def test_an_unknown_key_is_refused(signer: Signer) -> None:
    with pytest.raises(BadSignature, match="not in the keyring"):
        verdict(signer.keyring("one"), signer.signed("two"))


def test_an_expired_key_is_refused(signer: Signer) -> None:
    with pytest.raises(BadSignature, match="the key has expired"):
        verdict(signer.keyring("expired"), signer.signed("expired", extra=(IN_2020,)))


def test_an_expired_key_does_not_matter_beside_a_good_one(signer: Signer) -> None:
    in_release = signer.signed("expired", "old", extra=(IN_2020,))
    assert verdict(signer.keyring("expired", "old"), in_release).made_at.year == 2020


def test_an_expired_signature_is_refused(signer: Signer) -> None:
    in_release = signer.signed("old", extra=(IN_2020, "--default-sig-expire", "1d"))
    with pytest.raises(BadSignature, match="the signature has expired"):
        verdict(signer.keyring("old"), in_release)


def test_a_revoked_key_is_refused(signer: Signer) -> None:
    signer.make_key("revoked")
    in_release = signer.signed("revoked")
    certificate = signer.home / "openpgp-revocs.d" / f"{signer.fingerprint('revoked')}.rev"
    signer.gpg("--import", stdin=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
    with pytest.raises(BadSignature, match="the key was revoked"):
        verdict(signer.keyring("revoked"), in_release)


def test_a_signature_over_a_weak_hash_is_refused(signer: Signer) -> None:
    signer.gpg("--quick-generate-key", "rsa@example.org", "rsa2048", "sign", "never")
    in_release = signer.signed("rsa", extra=("--digest-algo", "SHA1"))
    with pytest.raises(BadSignature):  # gpgv may refuse it itself
        verdict(signer.keyring("rsa"), in_release)


def test_a_file_without_a_signature_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "InRelease"
    plain.write_bytes(TEXT)
    with pytest.raises(BadSignature):
        verdict(DEBIAN_KEYRING, plain)


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "as gpg writes it": lambda data: data,
    "no final newline": lambda data: data.removesuffix(b"\n"),
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "no Hash header": lambda data: re.sub(rb"Hash: .*\n", b"", data, count=1),
    "other headers": lambda data: re.sub(rb"Hash: .*\n", b"Version: x\nOrigin: y\n", data, count=1),
    "headers of the signature": lambda data: data.replace(
        b"SIGNATURE-----\n\n", b"SIGNATURE-----\nVersion: BCPG v1.71\n\n", 1
    ),
    "two signatures": lambda data: data + data[data.index(b"-----BEGIN PGP SIGNATURE") :],
    "blanks at the ends of lines": lambda data: data.replace(b"Origin: Test\n", b"Origin: Test \t\n"),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_a_clear_signed_file_is_checked_however_it_is_wrapped(
    signer: Signer, wrap: Callable[[bytes], bytes]
) -> None:
    in_release = signer.signed("one")
    in_release.write_bytes(wrap(in_release.read_bytes()))
    found = check_clearsigned(in_release, [signer.keyring("one")], where="InRelease")
    assert found.keys == (signer.fingerprint("one"),)


@pytest.mark.parametrize(
    ("old", "new"), [(b"Test", b"Toast"), (b"SHA256:\n", b""), (b"SHA256:", b"\nSHA256:")]
)
def test_a_text_that_was_changed_is_refused(signer: Signer, old: bytes, new: bytes) -> None:
    in_release = signer.signed("one")
    head, sign, tail = in_release.read_bytes().rpartition(b"- - dash")
    in_release.write_bytes(head.replace(old, new) + sign + tail.replace(old, new))
    with pytest.raises(BadSignature, match="was changed after signing"):
        check_clearsigned(in_release, [signer.keyring("one")], where="InRelease")


def test_a_second_signer_may_add_a_block(signer: Signer) -> None:
    first, second = signer.signed("two").read_bytes(), signer.signed("one").read_bytes()
    signer.home.joinpath("InRelease").write_bytes(first + second[second.index(b"-----BEGIN PGP SIGNATURE") :])
    found = check_clearsigned(signer.home / "InRelease", [signer.keyring("one")], where="InRelease")
    assert found.keys == (signer.fingerprint("one"),)


def test_keyrings_may_be_armored_and_in_directories(signer: Signer, tmp_path: Path) -> None:
    in_release = signer.signed("one")
    (tmp_path / "keys.d").mkdir()
    (tmp_path / "keys.d/two.gpg").write_bytes(signer.gpg("--export", "two@example.org"))
    (tmp_path / "keys.d/README").write_text("not a key\n")
    keyrings = [tmp_path / "keys.d", tmp_path / "both.asc"]
    blocks = [signer.gpg("--armor", "--export", f"{name}@example.org") for name in ("two", "one")]
    keyrings[1].write_bytes(b"\n".join(blocks))
    check_keyrings(keyrings)
    found = check_clearsigned(in_release, keyrings, where="InRelease")
    assert found.keys == (signer.fingerprint("one"),)
    before = fingerprint(keyrings)
    (tmp_path / "keys.d/one.asc").write_bytes(blocks[1])
    assert fingerprint(keyrings) != before
    assert check_clearsigned(in_release, keyrings[:1], where="InRelease") == found


def test_the_text_that_is_taken_is_the_text_that_was_signed(signer: Signer) -> None:
    in_release = signer.signed("one")
    detached = in_release.with_name("Release.gpg")
    text = split_clearsigned(in_release.read_bytes(), where="InRelease")
    assert text == TEXT.replace(b"trailing ", b"trailing")
    detached.write_bytes(signer.gpg("--local-user", "one@example.org", "--detach-sign", stdin=text))
    in_release.with_name("Release").write_bytes(text)
    assert verdict(signer.keyring("one"), detached, in_release.with_name("Release")).keys


def test_a_detached_signature_of_another_text_is_refused(signer: Signer, tmp_path: Path) -> None:
    signature, release = tmp_path / "Release.gpg", tmp_path / "Release"
    signature.write_bytes(signer.gpg("--local-user", "one@example.org", "--detach-sign", stdin=TEXT))
    release.write_bytes(TEXT + b"x")
    with pytest.raises(BadSignature, match="the text was changed after signing"):
        verdict(signer.keyring("one"), signature, release)
