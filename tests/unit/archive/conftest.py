from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "data" / "archive"


@pytest.fixture(scope="session")
def in_release() -> bytes:
    return DATA.joinpath("bookworm.InRelease").read_bytes()
