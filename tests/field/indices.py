"""Packages, Sources and what else a Release file lists, as tools and people write them."""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable, Mapping
from functools import partial

import lz4.frame

from field.builder import CONTENTS, PACKAGES, Upstream, digest, gz
from field.case import HELD, Build, Case, Odd, Step, clear, held, odd, ordinary, taken, two

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TRANSLATION = "main/i18n/Translation-en"
OPTIONAL = {
    "contents": CONTENTS,
    "translation": f"{TRANSLATION}.xz",
    "dep11": "main/dep11/Components-amd64.yml.gz",
    "commands": "main/cnf/Commands-amd64.xz",
    "icons": "main/dep11/icons-64x64.tar.gz",
}
SOURCES = "main/source/Sources"
IMAGES = "main/installer-amd64/20260101/images"


def text(change: Callable[[str], str | bytes]) -> Build:
    """Packages with another text."""
    return odd(lambda up, n: change(two(up, n)))


def stanzas(change: Callable[[Upstream, int], str]) -> Build:
    """Two packages, and what else Packages has."""
    return odd(lambda up, n: two(up, n) + change(up, n))


def named(filename: str, path: str = "pool/main/o/odd/odd-x_1_amd64.deb") -> Build:
    """A package whose Filename is written in a way of its own."""
    return stanzas(lambda up, n: up.package("odd-x", "1", path=path, filename=filename))


def packed(suffix: str, pack: Callable[[bytes], bytes], *, plain: bool = False) -> Build:
    """Packages in one packed form; the plain one is listed and not there."""

    def build(up: Upstream, n: int) -> None:
        clear(up)
        data = two(up, n).encode()
        indices = {f"{PACKAGES}{suffix}": pack(data), **({PACKAGES: data} if plain else {})}
        up.suite("dists/odd", indices, listed={PACKAGES: data})

    return build


def spoilt(
    *names: str, content: bytes | None = b"of another state", more: Mapping[str, bytes] | None = None
) -> Build:
    """Files that are not what Release lists; None: they are not there."""

    def after(up: Upstream, n: int) -> None:
        for name in names:
            up.remove(f"dists/odd/{name}")
            if content is not None:
                up.put(f"dists/odd/{name}", content + str(n).encode())

    return odd(more=more, after=after)


def by_hash_only(up: Upstream, n: int) -> None:
    odd(by_hash=["SHA256"])(up, n)
    for name in (PACKAGES, f"{PACKAGES}.gz"):
        up.remove(f"dists/odd/{name}")


def with_sources(change: Callable[[str], str] = lambda text: text, **keys: object) -> Build:
    def build(up: Upstream, n: int) -> None:
        clear(up)
        packages, sources = two(up, n).encode(), change(up.source("odd", f"1.{n}", **keys)).encode()
        indices = {PACKAGES: packages, SOURCES: sources, f"{SOURCES}.gz": gz(sources)}
        up.suite("dists/odd", indices)

    return build


def images(change: Callable[[str], str] = lambda text: text, lose: str = "") -> Build:
    """An installer with its list of hashes."""

    def build(up: Upstream, n: int) -> None:
        files = {f"netboot/{name}": f"{name} {n}".encode() for name in ("mini.iso", "linux", "initrd.gz")}
        sums = "".join(f"{digest('SHA256', data)}  ./{name}\n" for name, data in files.items())
        listed = {f"{IMAGES}/SHA256SUMS": change(sums).encode()}
        odd(more=listed)(up, n)
        for name, data in files.items():
            up.put(f"dists/odd/{IMAGES}/{name}", data)
        if lose:
            up.remove(f"dists/odd/{IMAGES}/{lose}")
        up.link("dists/odd/main/installer-amd64/current", "20260101")

    return build


def patches(lose: str = "", change: Callable[[str], str] = lambda text: text) -> Build:
    """A directory of patches from older states of Packages."""

    def build(up: Upstream, n: int) -> None:
        data = two(up, n).encode()
        scripts = {f"T-2026-{i}": f"1c\nline {i} {n}\n.\n".encode() for i in range(2)}
        now = f"{digest('SHA256', data)} {len(data)}"
        index = f"SHA256-Current: {now}\nSHA256-History:\n"
        index += "".join(f" {digest('SHA256', x)} {len(x)} {name}\n" for name, x in scripts.items())
        index += "SHA256-Patches:\n"
        index += "".join(f" {digest('SHA256', x)} {len(x)} {name}\n" for name, x in scripts.items())
        index += "SHA256-Download:\n"
        index += "".join(
            f" {digest('SHA256', gz(x))} {len(gz(x))} {name}.gz\n" for name, x in scripts.items()
        )
        odd(more={f"{PACKAGES}.diff/Index": change(index).encode()})(up, n)
        for name, script in scripts.items():
            if name != lose:
                up.put(f"dists/odd/{PACKAGES}.diff/{name}.gz", gz(script))

    return build


def extrafiles(change: Callable[[str], str]) -> Build:
    """The signed list of files outside of dists and pool."""

    def build(up: Upstream, n: int) -> None:
        ordinary(up, n)
        up.put("doc/about.txt", f"state {n}\n")
        line = f"{digest('SHA256', up.read('doc/about.txt'))}  doc/about.txt\n"
        up.put("extrafiles", change(line))

    return build


def two_architectures(change: Callable[[Upstream, int], tuple[str, str]]) -> Build:
    """Packages for amd64 and arm64."""

    def build(up: Upstream, n: int) -> None:
        clear(up)
        amd64, arm64 = change(up, n)
        names = {PACKAGES: amd64, "main/binary-arm64/Packages": arm64}
        indices = {
            f"{name}{end}": pack(x.encode())
            for name, x in names.items()
            for end, pack in (("", bytes), (".gz", gz))
        }
        up.suite("dists/odd", indices, fields={"Architectures": "amd64 arm64"})

    return build


def _under_two_hashes(up: Upstream, n: int) -> tuple[str, str]:
    amd64 = two(up, n) + up.package("odd-all", "1", arch="all")
    return amd64, two(up, n) + _of_another_hash(up.package("odd-all", "1", arch="all"))


def _of_another_hash(stanza: str) -> str:
    kept = [line for line in stanza.splitlines(True) if not line.startswith("SHA256")]
    return "".join([*kept[:-1], f"SHA256: {'ab' * 32}\n", kept[-1]])


def _without(*fields: str) -> Callable[[Upstream, int], str]:
    """A package whose stanza lacks fields."""

    def stanza(up: Upstream, n: int) -> str:
        lines = up.package("odd-x", "1").splitlines(True)
        return "".join(line for line in lines if line.partition(":")[0] not in fields)

    return stanza


def _crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


CASES = [
    # The text of Packages
    taken("packages_without_final_newline", text(lambda text: text.rstrip("\n"))),
    taken("packages_with_crlf", text(_crlf)),
    taken("packages_blank_lines_first", text(lambda text: "\n\n" + text), apt=False),
    taken("packages_blank_lines_between", text(lambda text: text.replace("\n\n", "\n\n\n\n"))),
    taken(
        "packages_separated_by_blanks",
        text(lambda text: text.replace("\n\n", "\n  \n", 1)),
        apt=False,
        unlisted=("pool/main/o/odd/*",),  # the second Filename of one stanza counts, for apt too
    ),
    taken(
        "packages_field_twice", text(lambda text: text.replace("Maintainer:", "Maintainer: B\nMaintainer:"))
    ),
    taken(
        "packages_lower_case_fields",
        text(lambda text: text.replace("Filename:", "filename:").replace("SHA256:", "sha256:")),
    ),
    taken("packages_comment", text(lambda text: "# made by hand\n" + text), apt=False),
    taken("packages_latin1", odd(lambda up, n: two(up, n).replace("A <", "J\u00fcrgen <").encode("latin-1"))),
    taken("packages_byte_order_mark", text(lambda text: "\ufeff" + text), apt=False),
    taken(
        "packages_long_field",
        text(lambda text: text.replace("Description:", f"Depends: {'a, ' * 40000}a\nDescription:", 1)),
    ),
    taken(
        "packages_many_lines_in_a_field",
        text(lambda text: text.replace("\n\n", "\n" + " x\n" * 2000 + "\n", 1)),
    ),
    taken("packages_empty", text(lambda text: ""), packages=(), unlisted=("pool/main/o/odd/*",)),
    taken("packages_stanza_twice", text(lambda text: text + "\n" + text)),
    taken("packages_no_blank_after_colon", text(lambda text: text.replace(": ", ":"))),
    held("packages_is_a_web_page", text(lambda text: "<html><body>It works!</body></html>\n"), packages=()),
    held("packages_is_binary", odd(lambda up, n: bytes(range(256)) * 4), packages=()),
    # Stanzas
    taken("stanza_without_filename", stanzas(_without("Filename", "Size", "SHA256"))),
    taken("stanza_without_size", stanzas(_without("Size"))),
    taken("stanza_without_hash", stanzas(_without("SHA256"))),
    taken("stanza_with_md5_only", stanzas(lambda up, n: up.package("odd-x", "1", hashes=["MD5sum"]))),
    taken("stanza_with_sha1_only", stanzas(lambda up, n: up.package("odd-x", "1", hashes=["SHA1"]))),
    taken(
        "stanza_with_sha512_only",
        stanzas(lambda up, n: up.package("odd-x", "1", hashes=["SHA512"])),
        packages=("odd", "odd-x"),
    ),
    taken(
        "stanza_with_md5_and_sha512",
        stanzas(lambda up, n: up.package("odd-x", "1", hashes=["MD5sum", "SHA512"])),
        packages=("odd", "odd-x"),
    ),
    taken(
        "stanza_with_upper_case_hash",
        odd(
            lambda up, n: "".join(
                f"SHA256: {x[8:-1].upper()}\n" if x.startswith("SHA256") else x
                for x in two(up, n).splitlines(True)
            )
        ),
        packages=(),
    ),
    taken("stanza_of_a_package_of_yesterday", stanzas(lambda up, n: up.package("odd", "0.5"))),
    # Filename
    taken("filename_dot_first", named("./pool/main/o/odd/odd-x_1_amd64.deb"), packages=("odd", "odd-x")),
    taken("filename_dot_inside", named("pool/main/./o/odd/odd-x_1_amd64.deb"), packages=("odd", "odd-x")),
    taken("filename_two_slashes", named("pool//main/o/odd/odd-x_1_amd64.deb"), packages=("odd", "odd-x")),
    taken("filename_slash_first", named("/pool/main/o/odd/odd-x_1_amd64.deb"), packages=("odd", "odd-x")),
    taken(
        "filename_up_and_down", named("pool/main/../main/o/odd/odd-x_1_amd64.deb"), packages=("odd", "odd-x")
    ),
    taken("filename_out_of_the_tree", named("../../../etc/passwd")),
    taken("filename_out_and_in_again", named("../tree/pool/main/o/odd/odd-x_1_amd64.deb")),
    taken(
        "filename_with_plus_and_tilde",
        named("", "pool/main/o/odd/odd-x_1%3a2+b~c_amd64.deb"),
        packages=("odd", "odd-x"),
    ),
    taken("filename_with_a_blank", named("", "pool/main/o/odd/odd x_1_amd64.deb"), packages=("odd", "odd-x")),
    taken(
        "filename_beyond_ascii",
        named("", "pool/main/o/odd/\u00f6dd-x_1_amd64.deb"),
        packages=("odd", "odd-x"),
    ),
    taken(
        "filename_begins_with_a_dot",
        named("", "pool/main/o/odd/.odd-x_1_amd64.deb"),
        packages=("odd", "odd-x"),
    ),
    taken(
        "filename_with_brackets", named("", "pool/main/o/odd/odd-x[1]*_amd64.deb"), packages=("odd", "odd-x")
    ),
    taken("filename_without_deb", named("", "pool/main/o/odd/odd-x"), packages=("odd", "odd-x")),
    taken("filename_of_255_bytes", named("", f"pool/main/o/odd/{'x' * 251}.deb"), packages=("odd", "odd-x")),
    taken("pool_file_under_two_hashes", two_architectures(_under_two_hashes)),
    # Packed forms
    taken("packed_by_zstd", packed(".zst", zstd.compress)),
    taken("packed_by_lz4", packed(".lz4", lz4.frame.compress)),
    taken("packed_by_bzip2", packed(".bz2", bz2.compress)),
    taken("packed_by_lzma", packed(".lzma", partial(lzma.compress, format=lzma.FORMAT_ALONE))),
    taken("packed_by_xz", packed(".xz", lzma.compress)),
    taken(
        "packed_only_plain", lambda up, n: (clear(up), up.suite("dists/odd", {PACKAGES: two(up, n).encode()}))
    ),
    taken("gz_padded", packed(".gz", lambda data: gz(data) + b"\0" * 512)),
    taken("gz_concatenated", packed(".gz", lambda data: gz(data[:200]) + gz(data[200:]))),
    taken("xz_padded", packed(".xz", lambda data: lzma.compress(data) + b"\0" * 512)),
    taken(
        "xz_concatenated",
        packed(".xz", lambda data: lzma.compress(data[:200]) + lzma.compress(data[200:])),
        apt=False,
    ),
    taken(
        "gz_of_no_bytes",
        lambda up, n: (clear(up), up.suite("dists/odd", {PACKAGES: b"", f"{PACKAGES}.gz": b""})),
        packages=(),
    ),
    held("gz_is_none_but_listed_so", packed(".gz", lambda data: b"no gzip at all\n")),
    held("gz_is_cut_off_but_listed_so", packed(".gz", lambda data: gz(data)[:-20])),
    # Listed, and something else is there
    taken("plain_stale_beside_gz", spoilt(PACKAGES), unserved=(f"dists/odd/{PACKAGES}",)),
    taken(
        "gz_stale_beside_plain", spoilt(f"{PACKAGES}.gz"), apt=False, unserved=(f"dists/odd/{PACKAGES}.gz",)
    ),
    taken("plain_not_there", spoilt(PACKAGES, content=None)),
    taken("gz_not_there", spoilt(f"{PACKAGES}.gz", content=None)),
    held("every_packages_is_stale", spoilt(PACKAGES, f"{PACKAGES}.gz")),
    held("every_packages_is_empty", spoilt(PACKAGES, f"{PACKAGES}.gz", content=b"")),
    Case(
        "every_packages_is_lost",
        (
            Step(ordinary),
            Step(spoilt(PACKAGES, f"{PACKAGES}.gz", content=None), (HELD,), Odd.HELD, apt=False, again=HELD),
            Step(ordinary),
        ),
    ),
    taken("by_hash_only", by_hash_only),
    *(
        taken(
            f"{kind}_stale",
            spoilt(name, more={name: b"right"}),
            unserved=(f"dists/odd/{name}",),
        )
        for kind, name in OPTIONAL.items()
    ),
    *(
        taken(f"{kind}_not_there", spoilt(name, content=None, more={name: b"right"}))
        for kind, name in OPTIONAL.items()
    ),
    # Sources
    taken("sources", with_sources()),
    taken("sources_md5_only", with_sources(sections=["Files"])),
    taken("sources_sha256_only", with_sources(sections=["Checksums-Sha256"])),
    taken("sources_directory_dot", with_sources(lambda text: text.replace("Directory: ", "Directory: ./"))),
    taken(
        "sources_directory_out",
        with_sources(lambda text: text + "\n" + text.replace("Directory: ", "Directory: ../../../")),
    ),
    # Lists of hashes
    taken("images", images()),
    taken("images_list_themselves", images(lambda text: f"{text}{'0' * 64}  ./SHA256SUMS\n")),
    taken("images_blank_lines", images(lambda text: "\n" + text.replace("\n", "\n\n"))),
    taken("images_crlf", images(_crlf)),
    taken("images_binary_mark", images(lambda text: text.replace("  ./", " *"))),
    taken("images_comment", images(lambda text: "# made by hand\n" + text)),
    taken("images_stale_line", images(lambda text: f"{text}{'0' * 64}  ./netboot/gone.iso\n")),
    taken("images_one_is_lost", images(lose="netboot/linux")),
    taken("patches", patches()),
    taken("patch_lost", patches(lose="T-2026-0")),
    taken(
        "patches_of_another_state",
        patches(change=lambda text: text.replace("SHA256-Current: ", "SHA256-Current: 0")),
    ),
    taken("extrafiles_plain", extrafiles(lambda text: text), alone=True),
    taken(
        "extrafiles_stale",
        extrafiles(lambda text: f"{'0' * 64}  doc/about.txt\n{'0' * 64}  gone\n"),
        alone=True,
    ),
    taken(
        "extrafiles_list_themselves", extrafiles(lambda text: f"{text}{'0' * 64}  extrafiles\n"), alone=True
    ),
    taken("extrafiles_blank_lines", extrafiles(lambda text: f"\n{text}\n\n"), alone=True),
    taken("extrafiles_nonsense", extrafiles(lambda text: "<html>\n"), alone=True),
]
