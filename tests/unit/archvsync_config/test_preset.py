from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.archvsync_config.places import ScriptPaths, preset_of_file, preset_of_ftpsync

PACKAGE = ScriptPaths((), Path("/log"), Path("/locks"), None)
TARBALL = ScriptPaths((), Path("/base/log"), Path("/base/locks"), Path("/base"))


@pytest.mark.parametrize(("where", "base"), [(PACKAGE, None), (TARBALL, "/base")])
@pytest.mark.parametrize("name", ["ftpsync", "runmirrors-bpo"])
def test_only_a_tarball_has_a_basedir(name, where, base):
    found = preset_of_file(name, where)
    assert (found.get("BASEDIR"), found["NAME"], found["LOGDIR"]) == (base, name, str(where.logs))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ftpsync", {"ARCHIVE": "", "SYNCALL": "true", "SYNCSTAGE1": "false"}),
        ("ftpsync-bpo", {"ARCHIVE": "bpo"}),
        ("runmirrors-bpo", {"CONF": "bpo", "PUSHKIND": "mhop", "FROMFTPSYNC": "false"}),
    ],
)
def test_a_file_that_nobody_called_for_is_read_as_for_a_timer(name, told):
    assert preset_of_file(name, PACKAGE).items() >= told.items()


def test_the_words_of_a_call_win():
    found = preset_of_ftpsync("ftpsync-a", PACKAGE, {"ARCHIVE": "a", "SYNCALL": "false"})
    assert (found["SYNCALL"], found["SYNCSTAGE2"]) == ("false", "false")
