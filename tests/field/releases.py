"""Release files and their signatures as tools and people write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from field.builder import CONTENTS, KEY, PACKAGES, Change, Upstream, digest
from field.case import NOTHING, Build, Case, Odd, Step, held, odd, ordinary, taken
from field.openpgp import Key, armour
from pushmirror.config.model import Strategy

OLD = Key("Old <old@example.org>", expires=timedelta(days=150))
STRANGER = Key("Stranger <stranger@example.org>")
_THEN = datetime(2020, 2, 1, tzinfo=UTC)  # the old key was good
_NOW = datetime.now(UTC)
_HELLO = b"hello"
ALL = list(Strategy)[1:]


def listing(*names: str, data: bytes = b"of an older state", section: str = "SHA256") -> Change:
    """Further lines in the last section."""
    lines = "".join(f" {digest(section, data)} {len(data):8} {name}\n" for name in names)
    return lambda text: text + lines


def date(form: str) -> Build:
    return odd(fields={"Date": f"{_NOW:{form}}"})


def replaced(*pairs: tuple[str, str]) -> Build:
    """Other words in the Release text."""

    def change(text: str) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    return odd(change=change)


def lines(change: Callable[[str], str]) -> Build:
    """Other lines where files are listed."""
    return odd(change=lambda text: "\n".join(change(x) if x.startswith(" ") else x for x in text.split("\n")))


def signed(change: Callable[[bytes], bytes], name: str = "InRelease", **suite: object) -> Build:
    """Another InRelease, or Release.gpg, than the one that was signed."""

    def after(up: Upstream, n: int) -> None:
        up.put(f"dists/odd/{name}", change(up.read(f"dists/odd/{name}")))

    return odd(after=after, **suite)


def _of_an_older_state(name: str) -> Build:
    """Upstream never repairs one of the three files."""

    def build(up: Upstream, n: int) -> None:
        ordinary(up, n)
        kept = up.read(f"dists/odd/{name}")
        odd(fields={"Description": "newer"})(up, n)
        up.put(f"dists/odd/{name}", kept)

    return build


def _inrelease_left_over(up: Upstream, n: int) -> None:
    """InRelease names indices that are gone, Release those that are there."""
    odd(lambda up, n: b"")(up, n)
    kept = up.read("dists/odd/InRelease")
    ordinary(up, n)
    up.put("dists/odd/InRelease", kept)


def _expired(when: datetime) -> Callable[[Upstream, int], None]:
    """The old key has signed then, and there is no other signature."""

    def after(up: Upstream, n: int) -> None:
        up.put("dists/odd/InRelease", OLD.clear(up.read("dists/odd/Release"), when=when))
        for name in ("Release", "Release.gpg"):
            up.remove(f"dists/odd/{name}")

    return after


def _binary_signature(up: Upstream, n: int) -> None:
    up.put("dists/odd/Release.gpg", KEY.detached(up.read("dists/odd/Release"), armoured=False))


def _two_blocks(text: bytes) -> bytes:
    return text + text[text.index(b"-----BEGIN PGP SIGNATURE") :]


def _with_the_old_key(directory: Path) -> Path:
    file = directory / "both.gpg"
    file.write_bytes(KEY.public + OLD.public)
    return file


def _armoured(directory: Path) -> Path:
    file = directory / "keyring.asc"
    file.write_bytes(armour(KEY.public, "PUBLIC KEY BLOCK"))
    return file


def _none_signed(up: Upstream, n: int) -> None:
    odd(files=["Release"])(up, n)
    for name in ("InRelease", "Release.gpg"):
        up.remove(f"dists/good/{name}")


CASES = [
    taken("control", strategies=ALL),
    # Hashes
    taken("md5_only", odd(sections=["MD5Sum"]), apt=False),
    taken("md5_and_sha1", odd(sections=["MD5Sum", "SHA1"]), apt=False),
    held("md5_only_and_that_is_too_weak", odd(sections=["MD5Sum"]), options={"weak": "hold"}),
    taken("sha512_only", odd(sections=["SHA512"])),
    taken("md5_and_sha512", odd(sections=["MD5Sum", "SHA512"]), strategies=ALL),
    taken("all_kinds_of_hashes", odd(sections=["MD5Sum", "SHA1", "SHA256", "SHA512"])),
    taken(
        "upper_case_hashes",
        lines(lambda line: " ".join(["", line.split()[0].upper(), *line.split()[1:]])),
        apt=False,
    ),
    held("no_hashes", odd(sections=[]), apt=False),
    taken(
        "lists_no_file",
        odd(change=lambda text: text.split("SHA256:")[0] + "SHA256:\n"),
        unlisted=("dists/odd/main*", "pool*"),
        apt=False,
    ),
    # What is listed
    taken("lists_itself", odd(change=listing("Release")), strategies=ALL),
    taken("lists_former_signatures", odd(change=listing("Release", "InRelease", "Release.gpg"))),
    taken("blank_in_a_path", odd(more={"main/dep11/icons 64x64.tar": b"icons"}), apt=False),
    taken("path_twice", odd(change=lambda text: text + text.split("SHA256:\n")[1])),
    taken("path_twice_contradicting", odd(change=listing(f"{PACKAGES}.gz"))),
    taken(
        "sizes_differ_between_sections",
        odd(
            sections=["MD5Sum", "SHA256"],
            change=lambda text: re.sub(r" \d+ (main/\S+)", r" 1 \1", text, count=2),
        ),
    ),
    taken(
        "file_without_strong_hash",
        odd(
            sections=["MD5Sum", "SHA256"],
            more={CONTENTS: _HELLO},
            change=lambda text: "".join(
                x for x in text.splitlines(True) if not (CONTENTS in x and len(x) > 90)
            ),
        ),
    ),
    taken("dot_in_paths", replaced((" main/binary", " ./main/binary")), apt=False),
    taken("two_slashes_in_paths", replaced((" main/binary-amd64", " main//binary-amd64")), apt=False),
    taken("path_out_of_the_suite", odd(change=listing("../other/file"))),
    taken("path_out_of_the_tree", odd(change=listing("../../../../etc/passwd"))),
    taken("absolute_path", odd(change=listing("/dists/odd/main/x"))),
    taken("directory_listed", odd(change=listing("main/binary-amd64/"))),
    taken("negative_size", odd(change=lambda text: f"{text} {'0' * 64} -1 main/x\n")),
    taken("size_is_no_number", odd(change=lambda text: f"{text} {'0' * 64} many main/x\n")),
    taken("line_without_path", odd(change=lambda text: f"{text} {'0' * 64} 17\n"), apt=False),
    taken("hash_of_another_length", odd(change=lambda text: f"{text} {'0' * 60} 17 main/x\n")),
    taken("tabs_between_columns", lines(lambda line: " " + "\t".join(line.split()))),
    taken(
        "component_release_listed",
        odd(more={"main/binary-amd64/Release": b"Archive: odd\nComponent: main\nArchitecture: amd64\n"}),
    ),
    taken(
        "component_release_unlisted",
        odd(
            after=lambda up, n: up.put(
                "dists/odd/main/binary-amd64/Release", "Archive: odd\nComponent: main\n"
            )
        ),
    ),
    taken(
        "component_release_above",
        odd(after=lambda up, n: up.put("dists/odd/main/Release", "Archive: odd\nComponent: main\n")),
    ),
    # Its text
    taken(
        "latin1_in_label",
        odd(change=lambda text: text.replace("Label: Case", "Label: Universit\u00e4t").encode("latin-1")),
    ),
    taken("utf8_in_label", replaced(("Label: Case", "Label: Universit\u00e4t"))),
    taken("byte_order_mark", odd(change=lambda text: "\ufeff" + text)),
    taken("second_paragraph", odd(change=lambda text: text + "\nX-Build: 17\n")),
    held("hashes_in_a_second_paragraph", replaced(("SHA256:\n", "\nSHA256:\n"))),
    taken("crlf", odd(newline="\r\n")),
    taken("blanks_at_line_ends", odd(change=lambda text: text.replace("\n", "  \n"))),
    taken("blank_line_first", odd(change=lambda text: "\n" + text)),
    taken("no_final_newline", odd(change=lambda text: text.rstrip("\n"))),
    taken("lower_case_fields", replaced(("SHA256:", "sha256:"), ("Codename:", "codename:"))),
    taken("field_twice", replaced(("Label: Case\n", "Label: Case\nLabel: Again\n"))),
    taken("section_twice", odd(change=lambda text: f"{text}SHA256:{text.split('SHA256:')[1]}")),
    taken("comment_line", odd(change=lambda text: "# made by hand\n" + text)),
    taken("line_without_colon", replaced(("Label: Case\n", "Label: Case\nmade by hand\n"))),
    taken("long_description", odd(fields={"Description": "long " * 3000})),
    taken(
        "fields_of_tomorrow",
        odd(
            fields={
                "Snapshots": "https://example.org/@SNAPSHOTID@",
                "Signed-By": KEY.fingerprint,
                "Version": "13.1",
                "Changelogs": "no",
            }
        ),
    ),
    taken(
        "only_hashes",
        odd(
            fields=dict.fromkeys(
                ["Origin", "Label", "Suite", "Codename", "Date", "Architectures", "Components", "Description"]
            )
        ),
    ),
    taken("slash_in_suite", odd(fields={"Suite": "stable/updates", "Codename": "odd/updates"})),
    taken("by_hash_announced_and_not_there", odd(fields={"Acquire-By-Hash": "yes"})),
    taken("by_hash_of_a_weaker_kind", odd(sections=["SHA256", "SHA512"], by_hash=["SHA256"])),
    taken(
        "by_hash_denied_and_there",
        odd(by_hash=["SHA256"], fields={"Acquire-By-Hash": "no"}),
        unlisted=("dists/odd/*/by-hash/*",),  # nobody may ask for them
    ),
    # Dates
    taken("date_with_offset", date("%a, %d %b %Y %H:%M:%S +0200")),
    taken("date_in_summer_time", date("%a, %d %b %Y %H:%M:%S CEST")),
    taken("date_iso", date("%Y-%m-%d %H:%M:%S UTC")),
    taken("date_american", date("%a, %b %d %Y %H:%M:%S +0000")),
    taken("date_of_ctime", date("%a %b %d %H:%M:%S %Y")),
    taken("date_in_local_words", odd(fields={"Date": "Di, 03 M\u00e4r 2026 10:00:00 UTC"})),
    taken("date_none", odd(fields={"Date": None})),
    taken("date_empty", odd(fields={"Date": ""})),
    taken(
        "date_in_the_future",
        odd(fields={"Date": f"{_NOW + timedelta(days=40):%a, %d %b %Y %H:%M:%S UTC}"}),
        apt=False,
    ),
    taken(
        "date_goes_back",
        lambda up, n: odd(fields={"Date": f"{_NOW - timedelta(days=9 * n):%a, %d %b %Y %H:%M:%S UTC}"})(
            up, n
        ),
        options={"rollback": "warn"},
    ),
    taken("valid_until_in_japan", odd(fields={"Valid-Until": "Tue, 30 Nov 2038 00:00:00 JST"}), apt=False),
    taken("valid_until_past", odd(fields={"Valid-Until": "Tue, 30 Nov 2010 00:00:00 UTC"}), apt=False),
    taken("valid_until_nonsense", odd(fields={"Valid-Until": "next year"}), apt=False),
    # Which of the files there are
    taken("inrelease_only", odd(files=["InRelease"]), strategies=ALL),
    taken("release_and_signature_only", odd(files=["Release", "Release.gpg"]), strategies=ALL),
    taken("release_unsigned_beside_inrelease", odd(files=["InRelease", "Release"])),
    taken("release_is_of_another_state", _of_an_older_state("Release")),
    taken("signature_is_of_another_state", _of_an_older_state("Release.gpg")),
    taken("inrelease_is_of_another_state", _of_an_older_state("InRelease")),
    held("inrelease_left_over", _inrelease_left_over),
    taken(
        "signature_is_nonsense_beside_inrelease", signed(lambda text: b"<html>404</html>\n", "Release.gpg")
    ),
    held("unsigned", odd(files=["Release"])),
    Case(
        "none_is_signed",
        (Step(_none_signed, NOTHING, Odd.ABSENT, good=False), Step(ordinary, apt=True)),
        alone=True,
    ),
    taken("unsigned_and_no_keyring", odd(files=["Release"]), keyring=lambda directory: None),
    held("empty_release", lambda up, n: (odd(files=["Release"])(up, n), up.put("dists/odd/Release"))),
    held("inrelease_is_a_web_page", signed(lambda text: b"<html>sorry</html>\n", files=["InRelease"])),
    held("inrelease_is_cut_off", signed(lambda text: text[: len(text) // 2], files=["InRelease"])),
    held("inrelease_is_empty", signed(lambda text: b"", files=["InRelease"])),
    # Signatures
    held("signed_by_a_stranger", odd(keys=[STRANGER])),
    held(
        "text_was_changed_after_signing",
        signed(lambda text: text.replace(b"Label: Case", b"Label: Cat"), files=["InRelease"]),
    ),
    held(
        "detached_signature_of_another_text",
        signed(lambda text: KEY.detached(b"other"), "Release.gpg", files=["Release", "Release.gpg"]),
    ),
    taken("two_signers_of_whom_one_is_known", odd(keys=[STRANGER, KEY])),
    taken("two_signers_the_known_one_first", odd(keys=[KEY, STRANGER])),
    taken(
        "signature_not_armoured", odd(files=["Release", "Release.gpg"], after=_binary_signature), apt=False
    ),
    taken("inrelease_without_final_newline", signed(lambda text: text.rstrip(b"\n"), files=["InRelease"])),
    taken("inrelease_with_crlf", signed(lambda text: text.replace(b"\n", b"\r\n"), files=["InRelease"])),
    taken("inrelease_with_two_signature_blocks", signed(_two_blocks, files=["InRelease"])),
    taken(
        "inrelease_with_armour_headers",
        signed(
            lambda text: text.replace(
                b"SIGNATURE-----\n\n", b"SIGNATURE-----\nVersion: BCPG v1.71\nComment: build\n\n", 1
            ),
            files=["InRelease"],
        ),
    ),
    taken(
        "inrelease_without_hash_header",
        signed(lambda text: text.replace(b"Hash: SHA256\n", b"", 1), files=["InRelease"]),
    ),
    held("text_before_the_signed_part", signed(lambda text: b"Origin: Evil\n" + text, files=["InRelease"])),
    held("text_behind_the_signed_part", signed(lambda text: text + b"Origin: Evil\n", files=["InRelease"])),
    held("key_that_has_expired_since", odd(after=_expired(_THEN)), keyring=_with_the_old_key),
    held("key_that_had_expired", odd(after=_expired(_NOW)), keyring=_with_the_old_key),
    taken("armoured_keyring", keyring=_armoured),
]
