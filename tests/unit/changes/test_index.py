"""When signed lists do not tell enough: a table of doubts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pushmirror.archive.release import parse_release
from pushmirror.changes.context import DetectionContext
from pushmirror.changes.index import require_usable
from pushmirror.errors import Unusable
from pushmirror.tree.published_state import NOTHING, PublishedState, Suite

TEXT = b"Suite: unstable\nCodename: sid\nSHA256:\n"


def published(*names: str, text: bytes = TEXT) -> PublishedState:
    suites = {
        f"dists/{name}": Suite(
            f"dists/{name}",
            {"Release": text},
            parse_release(text, where=name),
            {"Release": f"dists/{name}/Release"},
        )
        for name in names
    }
    return PublishedState(suites, "0" * 64)


def context(tree: Path, **facts: object) -> DetectionContext:
    usual: dict[str, Any] = {
        "workspace": SimpleNamespace(tree=tree),
        "pinned": published("sid"),
        "base": published("sid"),
        "is_dry": False,
        "inventory": SimpleNamespace(selection=7, target=""),
        "selection_hash": 7,
    }
    asked = {**usual, **facts}
    suites = SimpleNamespace(upstream=asked["pinned"], held_links=set())
    return cast("DetectionContext", SimpleNamespace(suites=suites, **asked))


def test_the_usual_case_is_usable(tmp_path: Path) -> None:
    require_usable(context(tmp_path))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"pinned": NOTHING}, "no Release files"),
        ({"is_dry": True}, "dry run"),
        ({"base": NOTHING}, "are unknown"),
        ({"selection_hash": 8}, "filters or architectures changed"),
        ({"inventory": SimpleNamespace(selection=7, target="somewhere")}, "did not finish"),
        ({"pinned": published("sid", "trixie")}, "suite dists/trixie added"),
        ({"base": published("sid", "trixie")}, "suite dists/trixie removed"),
        (
            {"pinned": published("sid", text=TEXT.replace(b"unstable", b"stable"))},
            "suite or codename of dists/sid changed",
        ),
    ],
)
def test_what_makes_it_unusable(tmp_path: Path, facts: dict[str, object], why: str) -> None:
    with pytest.raises(Unusable, match=why):
        require_usable(context(tmp_path, **facts))
