"""What is in the lab's archive outside of dists/ and pool/. Pure: names and bytes."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from datetime import datetime

from pushmirror.lab.packages import Built, PoolFile

_HOST = "archive.lab.example.org"
TRACE = f"project/trace/{_HOST}"

DOCUMENTS = {
    "README": "An archive of the lab. Nothing in it is of any use.\n",
    "README.html": "<p>An archive of the lab. Nothing in it is of any use.</p>\n",
    "README.mirrors.txt": "archive.lab.example.org has no mirrors that anybody should use.\n",
    "dists/README": "A directory for each suite, and links to them.\n",
    "doc/00-INDEX": "FAQ/ nothing is asked often\n",
    "doc/FAQ/index.html": "<p>None.</p>\n",
    "tools/README": "There are none.\n",
}
LINKS = {"doc/FAQ/faq.html": "index.html", "project/trace/master": _HOST}


def listings(pool: Mapping[str, PoolFile], packages: Iterable[Built]) -> dict[str, bytes]:
    """The files that are written anew by each update, and that nothing signed names."""
    packages = list(packages)
    lines = [f"-rw-r--r-- 1 dak dak {file.size} {path}\n" for path, file in sorted(pool.items())]
    sums = [f"{file.md5}  {path}\n" for path, file in sorted(pool.items())]
    maintainers = sorted(f"{built.package.name} The Lab <lab@example.org>\n" for built in packages)
    overrides = sorted(f"{built.package.name}\toptional\tmisc\n" for built in packages)
    debs = sorted(f"./{path}\n" for path in pool if path.endswith(("_amd64.deb", "_all.deb")))
    texts = {
        "ls-lR.gz": lines,
        "indices/Maintainers.gz": maintainers,
        "indices/md5sums.gz": sums,
        "indices/override.sid.main.gz": overrides,
        "indices/files/arch-amd64.files.gz": debs,
    }
    return {path: gzip.compress("".join(text).encode(), 1, mtime=0) for path, text in texts.items()}


def trace(when: datetime, serial: int) -> bytes:
    """The trace of the archive itself."""
    return (
        f"{when:%a %b %d %H:%M:%S UTC %Y}\nUsing dak v1\nRunning on host: {_HOST}\n"
        f"Archive serial: {serial}\nDate: {when:%a, %d %b %Y %H:%M:%S +0000}\nCreator: dak v1\n"
    ).encode()
