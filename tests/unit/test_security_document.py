"""SECURITY.md names tests for what it claims; these must be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()


def test_the_tests_and_documents_that_are_named_exist() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", TEXT)) | set(re.findall(r"\]\(([^)#]+)\)", TEXT))
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
