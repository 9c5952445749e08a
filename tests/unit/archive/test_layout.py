"""The order of publishing, as a table."""

import pytest

from pushmirror.archive.publishing_order import (
    PublishStep,
    deleting_order,
    is_package,
    may_land,
    publish_step,
    publishing_order,
)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("pool/main/a/a_1.deb", PublishStep.EARLY),
        ("dists/sid/main/binary-amd64/by-hash/SHA256/00", PublishStep.EARLY),
        ("dists/sid/main/binary-amd64/Packages.diff/2026-01-01.gz", PublishStep.EARLY),
        ("dists/sid/main/installer-amd64/20260101/images/mini.iso", PublishStep.EARLY),
        ("dists/sid/main/binary-amd64/Packages.diff/Index", PublishStep.INDEX),
        ("dists/sid/main/binary-amd64/Packages.xz", PublishStep.INDEX),
        ("dists/sid/main/binary-amd64/Release", PublishStep.INDEX),
        ("dists/sid/main/source/Sources.xz", PublishStep.INDEX),
        ("dists/sid/main/i18n/Translation-en.xz", PublishStep.INDEX),
        ("dists/sid/main/dep11/Components-amd64.yml.xz", PublishStep.INDEX),
        ("dists/sid/main/cnf/Commands-amd64.xz", PublishStep.INDEX),
        ("dists/sid/Contents-amd64.gz", PublishStep.INDEX),
        ("project/trace/master", PublishStep.MASTER),
        ("dists/sid/Release", PublishStep.RELEASE),
        ("dists/sid/Release.gpg", PublishStep.RELEASE),
        ("dists/sid/InRelease", PublishStep.RELEASE),
        ("dists/stretch/updates/InRelease", PublishStep.RELEASE),
        ("ls-lR.gz", PublishStep.REST),
        ("doc/FAQ", PublishStep.REST),
        ("InRelease", PublishStep.RELEASE),
        ("Packages.gz", PublishStep.INDEX),
        ("zzz-dists/sid/InRelease", PublishStep.RELEASE),
        ("debian/dists/sid/InRelease", PublishStep.RELEASE),
        ("debian/dists/sid/main/binary-amd64/Packages.xz", PublishStep.INDEX),
        ("dists/xenial/mongodb-org/4.0/InRelease", PublishStep.RELEASE),
        ("binary/a_1.deb", PublishStep.EARLY),
        ("doc/Release", PublishStep.REST),
        ("poolside/x", PublishStep.EARLY),
        ("project/trace/hub.example.org", PublishStep.TRACE),
        ("project/README", PublishStep.REST),
    ],
)
def test_a_file_belongs_to_the_part_that_says_when_it_appears(path: str, part: PublishStep) -> None:
    assert publish_step(path) is part


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("dists/stable", PublishStep.SUITE_LINK),
        ("dists", PublishStep.SUITE_LINK),
        ("dists/sid/InRelease", PublishStep.RELEASE),
        ("dists/sid/main/installer-amd64/current", PublishStep.INDEX_LINK),
        ("pool/main/link", PublishStep.EARLY),
        ("doc/link", PublishStep.REST),
    ],
)
def test_a_link_belongs_after_what_it_leads_to(path: str, part: PublishStep) -> None:
    assert publish_step(path, is_link=True) is part


def test_names_are_published_in_the_order_that_keeps_clients_whole() -> None:
    ordered = [
        ("pool/main/a/a_1.deb", False),
        ("dists/sid/main/binary-amd64/Packages.xz", False),
        ("dists/sid/main/installer-amd64/current", True),
        ("project/trace/master", False),
        ("dists/sid/Release", False),
        ("dists/sid/Release.gpg", False),
        ("dists/sid/InRelease", False),
        ("dists/trixie/Release", False),
        ("dists/trixie/InRelease", False),
        ("dists/stable", True),
        ("ls-lR.gz", False),
        ("project/trace/hub.example.org", False),
    ]
    assert sorted(set(ordered), key=lambda name: publishing_order(*name)) == ordered


def test_what_refers_is_deleted_before_what_it_refers_to() -> None:
    ordered = ["dists/old/InRelease", "dists/old/main/binary-amd64/Packages.xz", "pool/main/o/old_1.deb"]
    assert sorted(set(ordered), key=deleting_order) == ordered


@pytest.mark.parametrize(
    ("path", "may"),
    [("pool/new", True), ("doc/new", True), ("dists/new/InRelease", False), ("project/trace/new", False)],
)
def test_only_what_no_live_index_names_may_appear_early(path: str, may: bool) -> None:
    assert may_land(path) is may


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pool/main/a/apt/apt_2.6.1_amd64.deb", True),
        ("pool/main/a/apt/apt-udeb_2.6.1_amd64.udeb", True),
        ("pool/main/a/apt/apt-dbgsym_2.6.1_amd64.ddeb", True),
        ("pool/main/a/apt/apt_2.6.1.dsc", True),
        ("pool/main/a/apt/apt_2.6.1.tar.xz", True),
        ("pool/main/h/hello/hello_2.10.orig.tar.gz.asc", True),
        ("pool/main/h/hello/hello_2.10-3.debian.tar.xz", True),
        ("pool/main/h/hello/hello_2.10-3.diff.gz", True),
        ("pool/main/h/hello/.hello_2.10-3.deb", False),
        ("pool/main/h/hello/index_1.html", False),
        ("pool/main/h/hello/.htaccess", False),
        ("doc/apt_2.6.1_amd64.deb", False),
    ],
)
def test_what_is_a_package(name: str, expected: bool) -> None:
    assert is_package(name) == expected
