"""What `./run` installs: the demo must not bring what only tests need."""

from __future__ import annotations

import re
from pathlib import Path

RUN = (Path(__file__).parents[2] / "run").read_text()
LISTS = {name: set(words.split()) for name, words in re.findall(r'^(\w+)="([^"$]*)"', RUN, re.MULTILINE)}


def test_only_tests_need_archvsync_which_brings_a_mail_server() -> None:
    assert "ftpsync" in LISTS["test_packages"]
    assert "ftpsync" not in LISTS["packages"] | LISTS["network_packages"]


def test_the_demo_has_all_that_it_runs() -> None:
    needed = {"gnupg", "gpgv", "openssh-client", "openssh-server", "rsync", "python3-venv"}
    assert needed <= LISTS["packages"] | LISTS["network_packages"]
