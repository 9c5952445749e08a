from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.access import tls
from pushmirror.config.model import Serve
from pushmirror.errors import ConfigError
from pushmirror.system import process

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificates")


def make(directory, name, *words):
    """A key and its certificate, for two days."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.pem"), "-days", "2"]
    process.run([*argv, "-subj", f"/CN={name}", *words], timeout_s=60).check()


def serve(directory, chain="a.pem", key="a.key"):
    return Serve.model_validate(
        {"certificate": str(directory / chain), "certificate_key": str(directory / key)}
    )


@pytest.fixture
def here(tmp_path):
    make(tmp_path, "a")
    return tmp_path


def test_a_certificate_tells_how_long_it_counts(here):
    seen = tls.read_certificate(serve(here))
    assert seen is not None and seen.begins <= datetime.now(UTC)
    assert abs(seen.expires - datetime.now(UTC) - timedelta(days=2)) < timedelta(minutes=5)


def test_one_that_is_over_is_looked_at_too(here):
    csr = ["openssl", "req", "-new", "-key", str(here / "a.key"), "-subj", "/CN=a", "-out", str(here / "csr")]
    process.run(csr, timeout_s=60).check()
    sign = ["openssl", "x509", "-req", "-in", str(here / "csr"), "-signkey", str(here / "a.key")]
    process.run([*sign, "-days", "-1", "-out", str(here / "old.pem")], timeout_s=60).check()
    seen = tls.read_certificate(serve(here, "old.pem"))
    assert seen is not None and seen.expires < datetime.now(UTC)


def test_a_chain_begins_with_the_one_that_counts(here):
    make(here, "ca", "-days", "9")
    with (here / "a.pem").open("a") as file:
        file.write((here / "ca.pem").read_text())
    seen = tls.read_certificate(serve(here))
    assert seen is not None and seen.expires < datetime.now(UTC) + timedelta(days=3)


def test_without_one_there_is_nothing_to_look_at():
    assert tls.read_certificate(Serve()) is None


def passphrase(here):
    key = str(here / "a.key")
    process.run(["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", key], timeout_s=60)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda here: make(here, "a", "-out", str(here / "b.pem")), "does not belong to the certificate"),
        (lambda here: (here / "a.key").unlink(), r"certificate_key: .*a\.key cannot be read"),
        (lambda here: (here / "a.pem").unlink(), r"serve\.certificate: .*a\.pem cannot be read"),
        (lambda here: (here / "a.pem").write_text("nonsense"), "expected a certificate in PEM"),
        (lambda here: (here / "a.key").write_text("nonsense"), "expected PEM"),
        (passphrase, "a key without a passphrase"),
    ],
)
def test_a_pair_that_stunnel_could_not_use_is_refused(here, harm, why):
    harm(here)
    with pytest.raises(ConfigError, match=why):
        tls.read_certificate(serve(here))


def test_a_link_that_leads_elsewhere_is_another_state(here):
    make(here, "b")
    (here / "live.pem").symlink_to("a.pem")
    before = tls.stamp(serve(here, "live.pem"))
    assert before == tls.stamp(serve(here, "live.pem"))
    (here / "live.pem").unlink()
    (here / "live.pem").symlink_to("b.pem")
    assert tls.stamp(serve(here, "live.pem")) != before
