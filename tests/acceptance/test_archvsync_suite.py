"""archvsync's own tests (bats), unmodified, against our commands.

`./run test` fetches them with Debian's source package where its archive has it. A copy of that source at
another place is named by ARCHVSYNC_SOURCE.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from pushmirror.system import process

SOURCE = Path(os.environ.get("ARCHVSYNC_SOURCE") or Path(sys.prefix) / "archvsync/source")
COMMANDS = ("ftpsync", "ftpsync-cron", "runmirrors", "rsync-ssl-tunnel")
SCRIPTS = SOURCE / "tests/scripts/default"  # those beside it mirror a public server
RESULT = re.compile(r"^(ok|not ok) \d+ (.*?)(?: # (?P<note>.*))?$", re.MULTILINE)
#: What we do otherwise on purpose.
REFUSED = {
    "run ftpsync using plain transport": "its source names no module: rsync lists the daemon's modules, ends "
    "with 0, and nothing is mirrored",
}

pytestmark = pytest.mark.skipif(not SCRIPTS.is_dir(), reason="archvsync's own tests could not be fetched")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    home = tmp_path_factory.mktemp("archvsync")
    tree = Path(shutil.copytree(SOURCE, home / "source", symlinks=True))
    for name in COMMANDS:
        (tree / "bin" / name).unlink(missing_ok=True)
        (tree / "bin" / name).symlink_to(Path(sys.prefix, "bin", name))
    env = {"HOME": str(home), "LOGNAME": "archvsync", "PUSHMIRROR_STATE": str(home / "state")}
    scripts = sorted(str(script.relative_to(SOURCE / "tests")) for script in SCRIPTS.glob("*.bats"))
    ended = process.run(["bats", "--tap", *scripts], env=env, cwd=tree / "tests", timeout_s=300)
    return ended.output.decode()


def test_there_are_tests(results):
    assert len(RESULT.findall(results)) > 5


def test_all_pass_but_what_we_refuse_on_purpose(results):
    failed = {name for verdict, name, _ in RESULT.findall(results) if verdict != "ok"}
    assert failed <= REFUSED.keys(), results
