"""What is left to do after an import: lines to exchange, and who does from now on what the scripts did."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pushmirror.cli.first_config import DEBIAN_KEYRING, looks_like_debian
from pushmirror.cli.import_sources import Sources
from pushmirror.config import toml
from pushmirror.config.hostname import is_public
from pushmirror.config.importing.merging import Merged


def called_with(file: Path) -> tuple[str, ...]:
    """The words that call pushmirror with this configuration; sshd's PATH is short, and may have another."""
    called = Path(sys.argv[0]).absolute()
    program = str(called) if called.name == "pushmirror" else shutil.which("pushmirror") or "pushmirror"
    usual = file.parent in toml.usual_places()
    return (program,) if usual else (program, "--config", str(file))


def authorized_keys(sources: Sources, program: tuple[str, ...]) -> dict[str, str]:
    """The line that takes the place of each that starts ftpsync, by FILE:LINE."""
    return {pusher.place: pusher.line(program) for pusher in sources.pushers}


def next_steps(
    merged: Merged, sources: Sources, file: Path, program: tuple[str, ...], *, for_another: bool
) -> Iterator[str]:
    """Sentences, in the order to carry them out; `for_another`: the files are another user's by now."""
    config = merged.config
    command = shlex.join(program)
    if not for_another and (owner := _other_owner(merged)):
        yield (
            f"the mirror seems to be that of {owner}, and what was written is root's: import once more with "
            f"--user {owner} --force, or go on as root"
        )
    unchecked = [one.name for one in config.archives.values() if one.upstream and not one.keyring]
    if unchecked:
        likely = f', such as "{DEBIAN_KEYRING}"' if any(map(looks_like_debian, unchecked)) else ""
        yield f"set keyring of {', '.join(unchecked)}{likely}: without it signatures are not checked"
    if not is_public(config.mirror.name):
        yield f"set [mirror] name: mirror checkers look for project/trace/NAME, not for {config.mirror.name}"
    yield f"look through {file}, and call `{command} check` as the user who ran ftpsync"
    if sources.pushers:
        yield "exchange the pushers' lines in authorized_keys for those below"
    elif unchecked or any(one.upstream for one in config.archives.values()):
        yield f"where authorized_keys starts ftpsync for a pusher's key, have it start `{command} receive`"
    if any(one.upstream for one in config.archives.values()):
        instead = f"{command} sync --if-changed -T cron"
        yield f"take ftpsync and ftpsync-cron out of the crontab; instead: {instead}"
    else:
        yield f"call `{command} sync` where runmirrors was called: it pushes the sites"
    if sources.told.rsyncd:
        yield (
            f"stop the rsync daemon of {sources.told.rsyncd.file}, and start `{command} serve` "
            f"(`serve --print systemd` prints its service): same modules, users and passwords"
        )
    elif config.sites:
        yield f"start `{command} serve`, which wakes sites until they are current, or let each sync push"


def _other_owner(merged: Merged) -> str | None:
    """The user whose trees they are, when root has imported them."""
    trees = (archive.path for archive in merged.config.archives.values() if archive.upstream)
    owners = {tree.stat().st_uid for tree in trees if tree.exists()} - {0}
    if os.geteuid() != 0 or len(owners) != 1:
        return None
    try:
        return pwd.getpwuid(owners.pop()).pw_name
    except KeyError:
        return None
