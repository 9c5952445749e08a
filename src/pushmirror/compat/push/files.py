"""The files of a call of runmirrors: its configuration, its mirrors, and the ftpsync.conf beside them.

Guaranteed: an archive has the same name here as for that ftpsync, so that both mean the same standings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pushmirror.compat import session
from pushmirror.compat.push.call import Call
from pushmirror.compat.push.sites import Read
from pushmirror.config.legacy.ftpsync import TO, archive_name
from pushmirror.config.legacy.places import Places, find
from pushmirror.config.legacy.preset import PUSH_KIND, preset_of_ftpsync, preset_of_runmirrors
from pushmirror.config.legacy.reading import read_variables
from pushmirror.config.legacy.runmirrors import read_runmirrors
from pushmirror.config.legacy.values import Variables
from pushmirror.errors import ConfigError


def read(call: Call, environment: Mapping[str, str]) -> Read:
    """A call's configuration; ConfigError without one."""
    where = Places.of(environment, call.argv0)
    file = find(where, f"{call.name}.conf")
    if file is None:
        directories = ", ".join(map(str, where.config))
        raise ConfigError(f"the configuration file {call.name}.conf is in none of {directories}")
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    preset = preset_of_runmirrors(
        call.name,
        where,
        archive_option=call.archive_option,
        kind=call.kind or environment.get("PUSHKIND") or PUSH_KIND,
        from_ftpsync=call.from_ftpsync,
    )
    variables = read_variables(file, environment=environment, preset=preset)
    mirrors = _mirrors(variables, call, where, home)
    found = read_runmirrors(
        variables,
        name=call.name,
        archive_option=call.archive_option,
        places=where,
        mirror_text=_text(mirrors),
        home=home,
    )
    return Read(found, (file, *([mirrors] if mirrors else [])), variables.for_programs)


def archive_of(call: Call, environment: Mapping[str, str]) -> str:
    """Our name of what this call pushes: that of the ftpsync beside it."""
    script = call.name.replace("runmirrors", "ftpsync", 1)
    where = Places.of(environment, call.argv0)
    file = find(where, f"{script}.conf")
    tree = ""
    if file is not None:
        preset = preset_of_ftpsync(script, where, {"ARCHIVE": call.archive_option})
        try:
            tree = read_variables(file, environment=environment, preset=preset).get("TO", TO)
        except ConfigError as exc:  # an ftpsync that cannot run keeps nobody from pushing
            session.complain(f"warning: which archive this is cannot be told: {exc}")
    return archive_name(call.archive_option, script, tree)


def _mirrors(variables: Variables, call: Call, where: Places, home: Path) -> Path | None:
    told = variables.get("MIRRORS")
    return home / told if told else find(where, f"{call.name}.mirror")


def _text(file: Path | None) -> str:
    """The lines of a file; none where it is not there: the script pushes nobody then."""
    try:
        return file.read_text("utf-8", "replace") if file else ""
    except OSError:
        return ""
