"""The operator's programs before and after a push."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from pushmirror.config.loader import load
from pushmirror.config.model import Site
from pushmirror.push.engine import PushLoop, SilentObserver, is_quiet
from pushmirror.push.trigger_sender import Answer
from pushmirror.state.store import Store, open_store
from pushmirror.system import clock

TELL = """#!/bin/sh
echo "$PUSHMIRROR_HOOK $PUSHMIRROR_GENERATION $PUSHMIRROR_SITES late=$PUSHMIRROR_LATE $(pwd)" >>{file}
exit {code}
"""


class Scripted:
    """A wire to sites that answer at once, those called bad with 1."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def trigger(self, site: Site, words: str) -> Answer:
        with self._file.open("a") as file:
            file.write(f"{site.name}{words}\n")
        return Answer(1 if site.name == "bad" else 0, "")

    async def release(self, site: Site) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told"


@pytest.fixture
def push(tmp_path: Path, told: Path):
    """Pushes a generation to sites of these names; `code` is what the hooks end with."""

    def push(*names: str, code: int = 0, before: Path | None = None) -> list[str]:
        hook = tmp_path / "hook"
        hook.write_text(TELL.format(file=told, code=code))
        hook.chmod(0o755)
        for directory in ("tree", "sites.d"):
            (tmp_path / directory).mkdir()
        hooks = f"before_push = {json.dumps([str(before or hook)])}\nafter_push = {json.dumps([str(hook)])}\n"
        (tmp_path / "pushmirror.toml").write_text(
            f'[archives.debian]\npath = "{tmp_path}/tree"\n[archives.debian.hooks]\n{hooks}'
        )
        for port, name in enumerate(names, start=1):
            site = f'host = "h"\nuser = "u"\nport = {port}\npush = "all"\narchives = ["debian"]\n'
            (tmp_path / "sites.d" / f"{name}.toml").write_text(site)
        config = load(tmp_path)
        store = open_store(f"sqlite:///{tmp_path}/state.sqlite", tmp_path)
        try:
            asyncio.run(_push(store, config, told))
        finally:
            store.close()
        return told.read_text().splitlines()

    return push


async def _push(store: Store, config, told: Path) -> None:
    store.publish_generation("debian", "g1", None, clock.now())
    pusher = PushLoop("debian", lambda: config, store, Scripted(told), SilentObserver())
    await pusher.run(is_quiet)


def test_the_hooks_run_around_the_triggers_and_know_who_is_late(push, tmp_path):
    before, *triggers, after = push("good", "bad")
    tree = tmp_path / "tree"
    assert before == f"before_push g1 2 late= {tree}"
    assert sorted(triggers) == ["bad sync:archive:debian sync:all", "good sync:archive:debian sync:all"]
    assert after == f"after_push g1 2 late=bad {tree}"


def test_a_hook_that_fails_keeps_no_site_from_being_woken(push, caplog):
    lines = push("good", code=3)
    assert "good sync:archive:debian sync:all" in lines
    told = [record.levelname for record in caplog.records if "exit code 3" in record.message]
    assert [level for level in told if level != "INFO"] == ["WARNING"] * 2


def test_what_is_published_while_a_hook_runs_is_what_is_pushed(push, tmp_path, told):
    hook = tmp_path / "publish"
    hook.write_text(
        f"#!{sys.executable}\n"
        "from pathlib import Path\nfrom pushmirror.state.store import open_store\n"
        "from pushmirror.system import clock\n"
        f'here = Path("{tmp_path}")\n'
        'store = open_store(f"sqlite:///{here}/state.sqlite", here)\n'
        'store.publish_generation("debian", "g2", None, clock.now())\n'
        "store.close()\n"
    )
    hook.chmod(0o755)
    push("good", before=hook)
    store = open_store(f"sqlite:///{tmp_path}/state.sqlite", tmp_path)
    assert [trigger.generation for trigger in store.triggers()] == ["g2"]
    store.close()
