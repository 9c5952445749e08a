"""What `./run audit` makes of what pip-audit says. Here a script says it: the real one needs the network."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "run"
FOUND = "Name  Version ID           Fix Versions\nclick 8.5.1   PYSEC-2099-1 99\n"
UNKNOWN = "Name  Skip Reason\nclick Dependency not found on PyPI and could not be audited: click (8.5.1)\n"
WRITES_REPORT = 'while [ "$1" != -o ]; do shift; done; printf "%s" "$REPORT" >"$2"\n'


def audit(
    directory: Path, script: str, report: str = "", *, locked: str = "pip-audit==1\n"
) -> subprocess.CompletedProcess[str]:
    home = directory / ".venv/audit"
    (home / "bin").mkdir(parents=True)
    (directory / "requirements").mkdir()
    (directory / "requirements/audit.txt").write_text("pip-audit==1\n")
    (home / "locked").write_text(locked)
    program = home / "bin/pip-audit"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    functions = re.findall(r"^(?:install_)?audit\(\) \{.*?^\}$", RUN.read_text(), re.MULTILINE | re.DOTALL)
    return subprocess.run(
        ["sh", "-euc", "\n".join([*functions, "audit"])],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "REPORT": report},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_known_vulnerability_fails_and_is_shown(tmp_path: Path) -> None:
    ended = audit(tmp_path, f"{WRITES_REPORT}exit 1", FOUND)
    assert ended.returncode == 1
    assert "PYSEC-2099-1" in ended.stderr
    assert not (tmp_path / ".venv/audit.said").exists()  # lint asks again


@pytest.mark.parametrize(
    ("script", "report", "said"),
    [
        (f"{WRITES_REPORT}exit 0", "", "nothing known against the locked packages"),
        (f"{WRITES_REPORT}exit 0", UNKNOWN, "does not have 1 of the locked packages"),
        ("echo Traceback >&2; exit 1", "", "nothing was audited"),
    ],
)
def test_where_nobody_can_be_asked_one_line_says_so(
    tmp_path: Path, script: str, report: str, said: str
) -> None:
    ended = audit(tmp_path, script, report)
    assert ended.returncode == 0
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert (tmp_path / ".venv/audit.said").read_text() == ended.stderr


def test_where_it_cannot_be_installed_one_line_says_so(tmp_path: Path) -> None:
    ended = audit(tmp_path, "exit 1", locked="of another time")  # and there is no uv
    assert ended.returncode == 0
    assert ended.stderr.count("\n") == 1 and "could not be installed" in ended.stderr
