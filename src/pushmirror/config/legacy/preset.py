"""What the scripts have set before they read their configuration, which may refer to it.

One and the same wherever a file is read, by a command or by import: or `TO=/srv/${ARCHIVE}` would be one tree
for ftpsync and another for the runmirrors beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from pushmirror.config.legacy.places import Places
from pushmirror.config.legacy.values import VERSION

PUSH_KIND = "mhop"
_ASKED_NOTHING = {
    "ARCHIVE": "",
    "SYNCSTAGE1": "false",
    "SYNCSTAGE2": "false",
    "SYNCALL": "true",
    "SYNCMHOP": "false",
    "SYNCCALLBACK": "false",
}


def preset_of_ftpsync(name: str, where: Places, asked: Mapping[str, str]) -> dict[str, str]:
    """Before ftpsync reads NAME.conf; `asked` is what its words say, ARCHIVE at least."""
    return {**_of_both(name, where), **_ASKED_NOTHING, **asked}


def preset_of_runmirrors(
    name: str, where: Places, *, archive_option: str, kind: str = PUSH_KIND, from_ftpsync: bool = False
) -> dict[str, str]:
    """Before runmirrors reads NAME.conf; the rest is what it was told by -a, -k and -f."""
    told = {"CONF": archive_option, "PUSHKIND": kind, "FROMFTPSYNC": "true" if from_ftpsync else "false"}
    return {**_of_both(name, where), **told}


def preset_of_file(name: str, where: Places) -> dict[str, str]:
    """Before either of them reads NAME.conf, where nobody has called it: what it has when timers do."""
    archive = name.partition("-")[2]
    if name.startswith("runmirrors"):
        return preset_of_runmirrors(name, where, archive_option=archive)
    return preset_of_ftpsync(name, where, {"ARCHIVE": archive})


def _of_both(name: str, where: Places) -> dict[str, str]:
    ours = {"NAME": name, "LOGDIR": str(where.logs), "LOCKDIR": str(where.locks), "VERSION": VERSION}
    return {**ours, "BASEDIR": str(where.base)} if where.base else ours
