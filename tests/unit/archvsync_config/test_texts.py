from __future__ import annotations

import pytest

from pushmirror.archvsync_config.variables import decoded, mended, read_bytes, read_text
from pushmirror.errors import ConfigError


@pytest.mark.parametrize("data", ["Zürich".encode(), "Zürich".encode("latin-1")])
def test_text_is_in_utf_8_or_else_in_latin_1(data):
    assert decoded(data) == mended(data.decode("utf-8", "surrogateescape")) == "Zürich"


@pytest.mark.parametrize(("data", "told"), [("ü".encode(), 0), (b"\xfc", 1)])
def test_a_text_that_was_not_in_utf_8_is_told_with_its_file(tmp_path, data, told):
    (tmp_path / "file").write_bytes(data)
    warnings: list[str] = []
    assert read_text(tmp_path / "file", warnings) == "ü"
    assert [f"{tmp_path}/file: is not UTF-8" in one for one in warnings] == [True] * told


def test_a_file_without_end_is_refused(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(ConfigError, match="at most"):
        read_bytes(tmp_path / "file")
