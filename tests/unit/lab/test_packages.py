from pushmirror.lab.packages import Package, build, content


def test_the_same_seed_and_path_give_the_same_bytes() -> None:
    assert content(1, "pool/a", 1500) == content(1, "pool/a", 1500)
    assert content(1, "pool/a", 1500) != content(2, "pool/a", 1500)


def test_contents_are_no_larger_than_asked_for() -> None:
    assert all(100 <= len(content(1, str(n), 300)) <= 300 for n in range(200))


def test_no_two_packages_share_a_file() -> None:
    paths = [file.path for n in range(300) for file in build(Package(n), 1, 300).files()]
    assert len(paths) == len(set(paths))


def test_a_new_revision_keeps_the_orig_tarball_and_nothing_else() -> None:
    old = build(Package(0), 1, 300)
    new = build(Package(0).successor(), 1, 300)
    assert {f.path for f in old.files()} & {f.path for f in new.files()} == {
        "pool/main/a/alpha/alpha_1.0.orig.tar.xz"
    }


def test_some_versions_have_an_epoch_a_plus_and_a_tilde() -> None:
    versions = " ".join(Package(n).version for n in range(12))
    assert "1:" in versions
    assert "+dfsg" in versions
    assert "~deb13u1" in versions


def test_libraries_have_a_longer_prefix_in_the_pool() -> None:
    assert Package(11).directory == "pool/main/libm/libmike"
