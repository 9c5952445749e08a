"""Upstream's daemon refuses, hides and talks."""

from __future__ import annotations

from pathlib import Path

from field.case import Case, taken

EXAMPLE = Path("/usr/share/doc/rsync/examples/rsyncd.conf")  # of Debian's package
_OURS = {
    "path",
    "comment",
    "uid",
    "gid",
    "lock file",
    "pid file",
    "log file",
    "motd file",
    "use chroot",
    "read only",
    "list",
}
#: What ftpsync's rsync asks a daemon for.
_FTPSYNC = (
    "verbose",
    "links",
    "hard-links",
    "times",
    "perms",
    "recursive",
    "sparse",
    "block-size",
    "timeout",
)
FTPSYNC_ONLY = " ".join(["*", *(f"!{name}" for name in (*_FTPSYNC, "safe-links"))])


def example() -> dict[str, str]:
    """What Debian's example says of a module."""
    if not EXAMPLE.exists():  # a system without documentation
        return {"refuse options": "checksum dry-run", "ignore nonreadable": "yes", "timeout": "600"}
    lines = (line.partition("=") for line in EXAMPLE.read_text().splitlines() if not line.startswith("#"))
    settings = {key.strip(): value.strip() for key, equals, value in lines if equals}
    return {key: value for key, value in settings.items() if key not in _OURS}


def refusing(name: str, options: str, **keys: object) -> Case:
    return taken(f"refuses_{name}", module={"refuse options": options}, apt=None, **keys)


CASES = [
    taken("greeting_at", apt=None, greeting=b"@ hello\n@RSYNCD: mirrors\n"),
    taken(
        "greeting_like_a_listing",
        greeting=b">f+++++++++ 12 2026/01/01-00:00:00 dists/x\nNumber of files: 99\n",
    ),
    taken("greeting_latin1", apt=None, greeting="Universit\u00e4t J\u00fclich\n".encode("latin-1")),
    taken("greeting_binary", apt=None, greeting=bytes(range(1, 256)) + b"\n"),
    taken("greeting_long", apt=None, greeting=b"welcome to the mirror\n" * 3000),
    taken("debian_example", module=example()),
    refusing("dry_run", "dry-run"),
    refusing("checksum", "checksum"),
    refusing("hard_links", "hard-links"),
    refusing("ignore_times", "ignore-times"),
    refusing("files_from", "files-from"),
    refusing("iconv", "iconv"),
    refusing("compress", "compress"),
    refusing("delete", "delete"),
    refusing("partial", "partial"),
    refusing("stats", "stats"),
    refusing("perms", "perms"),
    refusing("log_format", "log-format"),
    refusing("itemize", "itemize-changes"),
    refusing("all_but_those_of_ftpsync", FTPSYNC_ONLY),
    taken("hides_packages", module={"exclude": "/pool/main/o/odd-old/"}, unserved=("pool/main/o/odd-old*",)),
    taken("hides_itself_from_the_list", module={"list": "no"}),
    taken(
        "hides_an_index",
        module={"exclude": "/dists/odd/main/binary-amd64/Packages"},
        unserved=("dists/odd/main/binary-amd64/Packages",),
    ),
    taken("bounds_connections", module={"max connections": "4"}),
]
