from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import pushmirror
from pushmirror.system import process
from recorded import RecordedMirror
from support.rsync_daemon import RsyncDaemon

ROOT = Path(pushmirror.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
ONLY_IN_SYSTEM = {"subprocess", "fcntl", "ctypes"}

#: What a run needs, and an answer without one does not.
OF_A_RUN = {
    "alembic",
    "pushmirror.hooks",
    "pushmirror.push.decide",
    "pushmirror.push.engine",
    "pushmirror.inventory.inventory",
    "pushmirror.sync.engine",
    "pushmirror.closures.store",
    "pushmirror.fetch.rsync_command",
    "pushmirror.sync.owner",
    "pushmirror.tree.traces",
    "pushmirror.fetch.upstream",
    "pushmirror.verify",
}
#: From the bottom: a room imports only of the floors below its own.
FLOORS = (
    {"errors", "progress", ""},  # "" is pushmirror/__init__.py
    {"system", "archive"},
    {"config", "state"},
    {"access", "archvsync_config", "hooks", "inventory", "ownership", "status"},
    {"tree", "push"},
    {"fetch", "background_push", "service"},
    {"closures"},
    {"workspace"},
    {"changes"},
    {"sync"},
    {"runner"},
    {"verify"},
    {"health", "importing"},
    {"checks", "lab"},
    {"cli"},
    {"archvsync_commands", "__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FORMATS = {"archive": {"errors"}}  # imports less than its floor allows: bytes in, values out
# Of the state these see values, and the name of the type Store.
WITHOUT_SQL = {"inventory", "tree", "fetch", "closures", "changes", "sync", "push", "access", "status"}
STATE_VALUES = ("pushmirror.state.records.", "pushmirror.state.suites.")


def imports_of(file: Path) -> Iterator[str]:
    """Full names, one for each name that is imported; also those inside functions."""
    package = ["pushmirror", *file.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*up, *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0].removesuffix("__init__")


def rooms_imported(file: Path) -> set[str]:
    ours = (name.split(".") for name in imports_of(file) if name.startswith("pushmirror."))
    return {words[1] for words in ours} & {*FLOOR_OF}


def module_of(file: Path) -> str:
    return ".".join(("pushmirror", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def modules_imported(file: Path) -> Iterator[str]:
    for name in imports_of(file):
        found = name if name in MODULES else name.rpartition(".")[0]
        if found in MODULES - {"pushmirror", module_of(file)}:
            yield found


MODULES = set(map(module_of, FILES))


def test_no_files_import_each_other_in_a_circle():
    order = TopologicalSorter({module_of(file): set(modules_imported(file)) for file in FILES})
    assert len([*order.static_order()]) == len(FILES)


def test_every_room_has_a_floor():
    assert {room_of(file) for file in FILES} == {*FLOOR_OF}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_downwards(file):
    room = room_of(file)
    below = {other for other in FLOOR_OF if FLOOR_OF[other] < FLOOR_OF[room]}
    assert rooms_imported(file) - {room} <= FORMATS.get(room, below)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_only_system_touches_processes_locks_and_c(file):
    used = {name.split(".")[0] for name in imports_of(file)}
    assert room_of(file) == "system" or not used & ONLY_IN_SYSTEM


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f) in WITHOUT_SQL], ids=name_of)
def test_engines_know_of_the_state_values_and_one_type(file):
    of_state = {name for name in imports_of(file) if name.startswith("pushmirror.state.")}
    others = {name for name in of_state if not name.startswith(STATE_VALUES)}
    assert others <= {"pushmirror.state.store.Store"}


def test_engines_and_values_load_no_sql():
    of_them = [file for file in FILES if room_of(file) in WITHOUT_SQL | {"archive", "config", "errors"}]
    names = [".".join(("pushmirror", *file.relative_to(ROOT).with_suffix("").parts)) for file in of_them]
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "sys.exit(' '.join({'sqlalchemy', 'pushmirror.state.store'} & sys.modules.keys()))"
    )
    assert process.run([sys.executable, "-c", script]).errors.strip() == ""


def test_the_help_of_all_commands_imports_nothing_heavy():
    script = (
        "import sys, contextlib, pushmirror.cli.main as m\n"
        "with contextlib.suppress(SystemExit): m.main(['--help'])\n"
        "sys.exit(' '.join({'pydantic', 'sqlalchemy', 'alembic', 'rich', 'tomlkit'} & sys.modules.keys()))"
    )
    result = process.run([sys.executable, "-c", script])
    assert (result.errors.strip(), b"Usage:" in result.output) == ("", True)


def test_reading_the_configuration_and_the_state_needs_neither_alembic_nor_an_orm():
    script = (
        "import sys, pushmirror.config.loader, pushmirror.state.store\n"
        "sys.exit(' '.join({'sqlalchemy.orm', 'alembic', 'mako', 'rich'} & sys.modules.keys()))"
    )
    assert process.run([sys.executable, "-c", script]).errors.strip() == ""


def test_a_push_of_what_is_served_already_loads_nothing_of_a_run(tmp_path):
    mirror = RecordedMirror.unpack(tmp_path / "recorded", sites=False)
    result = mirror.run("receive", "sync:all", f"sync:generation:{mirror.served}", modules=True)
    assert (result.exit_code, result.output[:24]) == (0, b"debian all: already at 8")
    assert all(find_spec(name) for name in OF_A_RUN)
    assert not OF_A_RUN & mirror.modules(result)


def test_a_receive_that_runs_loads_nothing_of_verify(tmp_path: Path, daemon: RsyncDaemon):
    mirror = RecordedMirror.unpack(tmp_path / "recorded", upstream=daemon.url(""), sites=False)
    daemon.add_module("debian", mirror.upstream)
    result = mirror.run("receive", "sync:all", modules=True)
    assert (result.exit_code, "pushmirror.sync.engine" in mirror.modules(result)) == (0, True)
    assert not [name for name in mirror.modules(result) if ".verify" in name]
