"""Names, kinds, modes and times of files that no index names, and of what is on the mirror's own disk."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from field.builder import Upstream
from field.case import HELD, OK, Build, Case, Check, Odd, Step, held, odd, ordinary, taken
from field.served import names
from pushmirror.errors import Exit
from trees import mounted_tmpfs

#: The daemon reads as nobody what root has made, in its chroot; a daemon of another user reads as that one.
NOBODY = {"uid": "nobody", "gid": "nogroup", "use chroot": "yes"} if os.geteuid() == 0 else {}
YEAR_9999 = 253402300799 - 86400


def beside(change: Callable[[Upstream], object]) -> Build:
    """An ordinary suite in a tree that has something odd elsewhere."""

    def build(up: Upstream, n: int) -> None:
        ordinary(up, n)
        change(up)

    return build


def file(name: str, mode: int = 0o644, **keys: float) -> Build:
    return beside(lambda up: up.put(name, b"x", **keys).chmod(mode))


def files(*names: str) -> Build:
    return beside(lambda up: [up.put(name, name) for name in names])


def links(**targets: str) -> Build:
    return beside(lambda up: [up.link(f"doc/{name}", target) for name, target in targets.items()])


def unreadable(name: str, change: Build, *names: str, **keys: object) -> Case:
    """Upstream's daemon may not read it: it is skipped, and nothing else."""
    return taken(name, change, module=NOBODY, unserved=names, **keys)


def _latin1(up: Upstream) -> None:
    up.put(os.fsdecode(b"pool/main/\xfcber.txt"), b"x")


def _socket(up: Upstream) -> None:
    here = Path.cwd()
    os.chdir(up.tree)  # the address of a socket may have 107 bytes
    try:
        up.remove("sock")
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("sock")
    finally:
        os.chdir(here)


def _fifo(up: Upstream) -> None:
    up.remove("doc/pipe")
    (up.tree / "doc").mkdir(exist_ok=True)
    os.mkfifo(up.tree / "doc/pipe")


def _private_directory(up: Upstream) -> None:
    up.put("private/x", b"x")
    (up.tree / "private").chmod(0o700)


def _private_work_directory(up: Upstream) -> None:
    up.put("pool/main/.~tmp~/x.deb", b"x")
    (up.tree / "pool/main/.~tmp~").chmod(0o700)


def _empty_directories(up: Upstream) -> None:
    for name in ("dists/odd/contrib/binary-arm64", "empty/a/b"):
        (up.tree / name).mkdir(parents=True, exist_ok=True)


def _unreadable_index(up: Upstream, n: int) -> None:
    ordinary(up, n)
    for end in ("", ".gz"):
        (up.tree / f"dists/odd/main/binary-amd64/Packages{end}").chmod(0o600)


def _unreadable_release(up: Upstream, n: int) -> None:
    ordinary(up, n)
    for name in ("InRelease", "Release", "Release.gpg"):
        (up.tree / f"dists/odd/{name}").chmod(0o600)


def _unreadable_suite(up: Upstream, n: int) -> None:
    ordinary(up, n)
    (up.tree / "dists/odd").chmod(0o700)


def _hard_links(up: Upstream) -> None:
    up.put("pool/main/h/big.deb", b"b" * 100_000)
    for number in (1, 2):
        up.remove(f"snapshot/{number}/big.deb")
        (up.tree / f"snapshot/{number}").mkdir(parents=True, exist_ok=True)
        os.link(up.tree / up.name("pool/main/h/big.deb"), up.tree / f"snapshot/{number}/big.deb")


def mounts(*names: str) -> Callable[[Path], object]:
    """The mirror's tree has file systems of its own at these names."""

    @contextmanager
    def prepare(tree: Path) -> Iterator[None]:
        if not names:
            yield
            return
        first, *others = names
        (tree / first).parent.mkdir(parents=True, exist_ok=True)
        with mounted_tmpfs(tree / first, "8m"), mounts(*others)(tree):
            yield

    return prepare


def elsewhere(name: str) -> Callable[[Path], object]:
    """A name of the mirror's tree is a link to another place, by the operator's own will."""

    @contextmanager
    def prepare(tree: Path) -> Iterator[None]:
        place = tree.parent / "disk2" / name
        place.mkdir(parents=True)
        (tree / name).symlink_to(place)
        yield

    return prepare


def _is_read_through_a_link(name: str) -> Check:
    def check(upstream: Path, mirror: Path) -> Iterator[str]:
        if not (mirror / name).is_symlink():
            yield f"{name} is no link any more"
        theirs, ours = names(upstream / name), names((mirror / name).resolve())
        yield from (f"{name}/{path}: {ours.get(path)}" for path in theirs if ours.get(path) != theirs[path])

    return check


@contextmanager
def _snapshots(tree: Path) -> Iterator[None]:
    (tree / ".snapshots/1").mkdir(parents=True)
    yield


def refused_link(name: str) -> Case:
    """A link of ours out of the tree, where upstream has a directory: nothing is replaced or fetched anew."""
    step = Step(
        ordinary, (int(Exit.CONFIG),), Odd.ABSENT, good=False, loose=(name, f"{name}/*"), says="mount --bind"
    )
    return Case(f"{name}_is_a_link_to_another_disk", (step,), prepare=elsewhere(name))


CASES = [
    # What the daemon may not read
    unreadable("unreadable_file", file("doc/secret.txt", 0o600), "doc/secret.txt"),
    unreadable(
        "unreadable_file_in_the_pool", file("pool/main/s/secret.deb", 0o600), "pool/main/s/secret.deb"
    ),
    unreadable("unreadable_work_file", file("pool/main/.odd_1.0_amd64.deb.4Ka4l0", 0o600), "pool/main/.odd*"),
    unreadable("unreadable_directory", beside(_private_directory), "private/x", loose=("private",)),
    unreadable("unreadable_work_directory", beside(_private_work_directory), "pool/main/.~tmp~*"),
    held("unreadable_index", _unreadable_index, module=NOBODY, apt=True),
    held("unreadable_release", _unreadable_release, module=NOBODY, apt=True),
    Case(
        "unreadable_suite",
        (
            Step(_unreadable_suite, (OK, HELD), Odd.ABSENT),  # nobody can know that it is a suite
            Step(ordinary),
            Step(_unreadable_suite, (HELD,), Odd.HELD, apt=True, again=HELD),
            Step(ordinary),
        ),
        module=NOBODY,
    ),
    # Kinds
    taken("fifo", beside(_fifo)),
    taken("socket", beside(_socket)),
    taken("hard_links", beside(_hard_links)),
    taken("empty_directories", beside(_empty_directories)),
    taken("link_dangles", links(dangling="nowhere/y")),
    taken(
        "link_up_after_a_name",
        beside(
            lambda up: (up.put("images/2026/x", b"x"), up.link("images/latest", "../images/2026/../2026"))
        ),
        unserved=("images/latest",),
    ),
    taken("link_absolute", links(absolute="/srv/x"), unserved=("doc/absolute",)),
    taken("link_out", links(out="../../x"), unserved=("doc/out",)),
    taken(
        "link_with_a_blank", beside(lambda up: (up.put("doc/My File", b"x"), up.link("doc/link", "My File")))
    ),
    # Names
    taken(
        "name_with_an_arrow",
        beside(lambda up: (up.put("doc/a -> b", b"x"), up.link("doc/c -> d", "a -> b"))),
        loose=("doc/a -> b", "doc/c -> d"),
    ),
    taken("name_with_a_newline", files("doc/a\nb"), unserved=("doc/a\nb",)),
    taken("name_with_a_return", files("doc/a\rb"), unserved=("doc/a\rb",)),
    taken("name_in_latin1", beside(_latin1)),
    taken(
        "name_with_a_control_character",
        files("doc/a\x85b", "doc/\x1b[31mred", "doc/\x7f"),
        loose=("doc/*",),
        alone=True,
    ),
    taken("name_with_backslashes", files("doc/a\\#012b", "doc/back\\slash")),
    taken(
        "name_with_blanks_and_signs",
        files("doc/ lead", "doc/trail ", "doc/-dash", "doc/#hash", "doc/;semi", "doc/*star?[x]"),
    ),
    taken("names_that_differ_by_case", files("doc/README", "doc/readme", "doc/ReadMe")),
    taken("name_of_255_bytes", files(f"pool/main/{'n' * 255}")),
    taken("many_levels", files("/".join(["l"] * 200) + "/x")),
    # Times and modes
    taken(
        "times_far_away",
        beside(
            lambda up: [
                up.put(f"doc/{when}", b"x", mtime=when) for when in (4102444805, 2**31 + 5, -34560000, 0)
            ]
        ),
    ),
    taken("time_of_the_year_9999", file("doc/far", mtime=YEAR_9999)),
    taken("time_with_a_fraction", file("doc/frac", mtime=1000000.5)),
    taken(
        "modes",
        beside(
            lambda up: [up.put(f"doc/{mode}", b"x").chmod(mode) for mode in (0o755, 0o666, 0o4755, 0o444)]
        ),
    ),
    # The mirror's own disk
    taken("pool_on_a_disk_of_its_own", prepare=mounts("pool")),
    taken("dists_on_a_disk_of_its_own", prepare=mounts("dists")),
    taken("a_part_of_the_pool_on_a_disk_of_its_own", prepare=mounts("pool/main/o")),
    taken("traces_on_a_disk_of_their_own", prepare=mounts("project")),
    taken("pool_and_dists_on_disks_of_their_own", odd(by_hash=["SHA256"]), prepare=mounts("pool", "dists")),
    refused_link("pool"),
    refused_link("dists"),
    taken("snapshots_of_the_disk", prepare=_snapshots),
]
