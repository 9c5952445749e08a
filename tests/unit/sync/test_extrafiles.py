"""What the signed list of documents decides about, as a table."""

from types import SimpleNamespace
from typing import cast

import pytest

from pushmirror.archive.filters import Selection, exclude_rules
from pushmirror.changes.context import DetectionContext
from pushmirror.changes.index_files import is_followed


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("README", True),
        ("doc/FAQ/index.html", True),
        ("indices/Maintainers.gz", True),
        ("dists/README", True),
        ("dists/sid/InRelease", False),
        ("dists/sid/main/binary-amd64/Packages", False),
        ("pool/main/h/hello/hello_1_all.deb", False),
        ("pool-sparc64/main/h/hello_1_sparc64.deb", False),
        ("project/trace/master", False),
        ("extrafiles", False),
        ("Archive-Update-in-Progress-here", False),
        ("tools/left-out", False),
    ],
)
def test_the_list_decides_about_what_no_release_file_covers(path: str, expected: bool) -> None:
    workspace = SimpleNamespace(
        traces=SimpleNamespace(is_left_out=lambda path: path.startswith("Archive-Update-")),
        selection=Selection(tuple(exclude_rules(["/tools/"]))),
    )
    assert is_followed(cast("DetectionContext", SimpleNamespace(workspace=workspace)), path) is expected
