from datetime import UTC, datetime

import pytest

from pushmirror.config.model import Archive
from pushmirror.errors import ConfigError
from pushmirror.progress import Silent
from pushmirror.runner import Runner
from pushmirror.state.records import Generation


class Published:
    """A store that knows of a generation that was published."""

    def latest_generation(self, archive):
        return Generation(archive, "f" * 64, datetime(2026, 8, 1, tzinfo=UTC), None, run_id=1)


@pytest.mark.parametrize(
    ("names", "mounted"),
    [
        ([], False),
        (["lost+found"], False),
        (["lost+found", ".~tmp~", "Archive-Update-Required-mirror.example.org"], False),
        (["lost+found", "dists"], True),
    ],
)
def test_a_disk_with_nothing_but_its_own_is_not_the_tree_that_was_published(tmp_path, names, mounted):
    for name in names:
        (tmp_path / name).mkdir()
    archive = Archive(name="a", path=tmp_path, upstream="rsync://hub.example.org/debian")
    hub = Runner(None, Published(), Silent())
    if mounted:
        hub.require_mounted(archive)
    else:
        with pytest.raises(ConfigError, match="is empty, but generation"):
            hub.require_mounted(archive)
