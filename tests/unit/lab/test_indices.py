from datetime import UTC, datetime

from pushmirror.lab.indices import SUITES, Digest, pdiff, pdiff_index, plain_indices, release_text
from pushmirror.lab.packages import Package, build

WHEN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_package_for_all_architectures_is_in_every_packages_file() -> None:
    indices = {name: plain for name, plain, _ in plain_indices(SUITES[1], [build(Package(2), 1, 300)])}
    for arch in ("amd64", "arm64", "all"):
        assert b"Package: charlie" in indices[f"main/binary-{arch}/Packages"]


def test_a_patch_replaces_every_line() -> None:
    patch = pdiff(b"a\nb\n", b"c\n", WHEN)
    assert patch.script == b"1,2c\nc\n.\n"
    assert patch.old == Digest.of(b"a\nb\n")


def test_the_index_of_patches_names_what_apt_downloads() -> None:
    patch = pdiff(b"a\n", b"b\n", WHEN)
    last = pdiff_index(b"b\n", [patch]).decode().splitlines()[-1]
    assert last == f" {Digest.of(patch.packed).sha256} {len(patch.packed)} {patch.name}.gz"


def test_only_suites_with_by_hash_say_so() -> None:
    said = {s.codename for s in SUITES if b"Acquire-By-Hash: yes" in release_text(s, {}, WHEN)}
    assert said == {s.codename for s in SUITES} - {"wheezy"}


def test_a_part_for_the_installer_is_in_an_index_of_its_own() -> None:
    indices = {name: plain for name, plain, _ in plain_indices(SUITES[1], [build(Package(0), 1, 300)])}
    assert b"Package: alpha-udeb\n" in indices["main/debian-installer/binary-amd64/Packages"]
    assert b"alpha-udeb" not in indices["main/binary-amd64/Packages"]
