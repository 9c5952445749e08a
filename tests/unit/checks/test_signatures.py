from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.checks import signatures
from pushmirror.config.model import DEBIAN_KEYRING, Archive
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.signing import LabKey
from pushmirror.status.words import Level
from support.rsync_daemon import RsyncDaemon


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    return LabArchive.create(tmp_path_factory.mktemp("signed"), packages=5)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    key = tmp_path_factory.mktemp("foreign") / "key.gpg"
    key.write_bytes(LabKey.create(key.parent / "home").public)
    return key


@pytest.fixture
def hub(tmp_path, signed):
    daemon = RsyncDaemon(tmp_path / "daemon")
    daemon.add_module("debian", signed.path)
    with daemon:
        yield daemon.url("debian")


def found(
    path: Path, *keyrings: Path, upstream: str = "rsync://127.0.0.1:1/debian"
) -> list[tuple[Level, str]]:
    archive = Archive(name="debian", path=path, upstream=upstream, keyring=keyrings)
    return [(one.level, one.found) for one in signatures.of_archive(archive)]


def test_an_archive_without_a_keyring_is_told_that_nothing_is_checked(tmp_path):
    archive = Archive(name="debian", path=tmp_path, upstream="rsync://h/debian")
    (told,) = signatures.of_archive(archive)
    assert (told.level, told.found) == (Level.WARNING, "not set: signatures are not checked")
    assert told.todo == f'set keyring = "{DEBIAN_KEYRING}"'


def test_a_plain_tree_and_the_owner_of_an_archive_need_no_keyring(tmp_path):
    (tmp_path / "README").touch()
    assert found(tmp_path) == []
    assert list(signatures.of_archive(Archive(name="a", path=tmp_path / "none"))) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"garbage", "expected OpenPGP public keys, binary or armored, found none"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "expected OpenPGP public keys, binary or armored"),
        (b"", "is empty"),
    ],
)
def test_a_file_that_is_no_keyring_is_an_error(tmp_path, content, said):
    (tmp_path / "k.asc").write_bytes(content)
    ((level, words),) = found(tmp_path / "tree", tmp_path / "k.asc")
    assert level is Level.ERROR and said in words


def test_debians_keyring_is_one():
    assert signatures.keyring("keyring", Path(DEBIAN_KEYRING)).level is Level.OK


def test_a_directory_of_keyrings_is_one(tmp_path):
    assert signatures.keyring("keyring", tmp_path).level is Level.ERROR
    (tmp_path / "debian.gpg").symlink_to(DEBIAN_KEYRING)
    assert signatures.keyring("keyring", tmp_path).level is Level.OK


def test_a_tree_signed_by_the_keyring_is_fine(signed):
    _, (level, words) = found(signed.path, signed.keyring)
    assert level is Level.OK and "signed by keys of the keyring" in words


def test_a_tree_signed_by_another_key_is_an_error(signed, foreign):
    _, (level, words) = found(signed.path, foreign)
    assert level is Level.ERROR and "expected a good signature" in words


def test_before_the_first_sync_upstream_is_asked(tmp_path, signed, foreign, hub):
    levels = [found(tmp_path / "tree", key, upstream=hub)[1][0] for key in (signed.keyring, foreign)]
    assert levels == [Level.OK, Level.ERROR]


def test_an_upstream_that_cannot_be_reached_is_told_of_elsewhere(tmp_path, signed):
    assert [level for level, _ in found(tmp_path / "tree", signed.keyring)] == [Level.OK]


def test_an_upstream_that_drips_does_not_hold_the_check(
    tmp_path: Path, signed: LabArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signatures, "_LIMIT", timedelta(seconds=1))
    drips = tmp_path / "rsync"
    drips.write_text("#!/bin/sh\nexec cat /dev/zero\n")
    drips.chmod(0o755)
    given = {"name": "debian", "path": tmp_path / "none", "upstream": "rsync://h/debian"}
    one = Archive.model_validate({**given, "keyring": [signed.keyring], "rsync": str(drips)})
    assert [found.level for found in signatures.of_archive(one)] == [Level.OK]
