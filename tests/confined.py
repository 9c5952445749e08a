"""Runs the ExecStart of a systemd unit within the limits that the unit states, without systemd.

    python confined.py FILE.service

System calls, address families and memory are limited by libseccomp, as systemd does it. As root also what may
be written, and the capabilities; another user has no power to take these from itself.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EQUAL, _MASKED_EQUAL = 4, 7
_MOST_FAMILIES = 64
_NEW_MOUNTS, _BIND_ALL, _PRIVATE_ALL = 0x20000, 0x1000 | 0x4000, 0x40000 | 0x4000
_MOUNT_SETATTR, _HERE, _RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 1

libc = ctypes.CDLL(None, use_errno=True)


class Comparison(ctypes.Structure):
    """libseccomp's `struct scmp_arg_cmp`."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class Filter:
    """What becomes of system calls; `default` is for those without a rule."""

    def __init__(self, default: int) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2")
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(default)))

    def add(self, action: int, call: str, *comparisons: Comparison) -> None:
        """A rule; what this machine's kernel does not have is left out."""
        number = self._lib.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:
            array = (Comparison * len(comparisons))(*comparisons)
            done = self._lib.seccomp_rule_add_array(
                self._context, ctypes.c_uint32(action), number, len(comparisons), array
            )
            assert done == 0, (call, done)

    def load(self) -> None:
        """From now on, and for all that we start; sets NoNewPrivileges, too."""
        done = self._lib.seccomp_load(self._context)
        assert done == 0, done


def main() -> None:
    """Limit this process and become the program."""
    text = Path(sys.argv[1]).read_text()
    unit = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    argv = shlex.split(unit["ExecStart"].lstrip("-").replace("%%", "%").replace("$$", "$"))
    if os.geteuid() == 0:
        _write_only(shlex.split(unit["ReadWritePaths"].replace("%%", "%")))
        kept = [f"+{name.removeprefix('CAP_').lower()}" for name in unit["CapabilityBoundingSet"].split()]
        argv = ["setpriv", f"--bounding-set={','.join(['-all', *kept])}", "--", *argv]
    _call_only(set(_expanded(unit["SystemCallFilter"].split())), unit["RestrictAddressFamilies"].split())
    os.execvp(argv[0], argv)  # noqa: S606  no shell, on purpose


def _write_only(paths: list[str]) -> None:
    try:
        _do(libc.unshare(_NEW_MOUNTS))
    except PermissionError:  # root of a container
        sys.stderr.write("confined: no mounts of its own here, so it may write everywhere\n")
        return
    _do(libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE_ALL), None))
    for path in paths:
        _do(libc.mount(path.encode(), path.encode(), None, ctypes.c_ulong(_BIND_ALL), None))
    _set_attributes("/", on=_READ_ONLY)
    for path in paths:
        _set_attributes(path, off=_READ_ONLY)
    _do(libc.mount(b"none", b"/var/tmp", b"tmpfs", ctypes.c_ulong(0), None))  # PrivateTmp; tests are in /tmp


def _set_attributes(path: str, *, on: int = 0, off: int = 0) -> None:
    wanted = struct.pack("=4Q", on, off, 0, 0)
    _do(libc.syscall(_MOUNT_SETATTR, _HERE, path.encode(), _RECURSIVE, wanted, len(wanted)))


def _do(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _call_only(calls: set[str], families: list[str]) -> None:
    import socket

    further = Filter(_ALLOW)
    for call, argument in (("mprotect", 2), ("pkey_mprotect", 2)):
        further.add(
            _ERRNO | errno.EPERM, call, Comparison(argument, _MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC)
        )
    both = mmap.PROT_EXEC | mmap.PROT_WRITE
    further.add(_ERRNO | errno.EPERM, "mmap", Comparison(2, _MASKED_EQUAL, both, both))
    allowed = {int(getattr(socket, name)) for name in families}
    for family in set(range(_MOST_FAMILIES)) - allowed:
        further.add(_ERRNO | errno.EAFNOSUPPORT, "socket", Comparison(0, _EQUAL, family, 0))
    only = Filter(_ERRNO | errno.EPERM)
    for call in calls | {"seccomp"}:  # to load the other; systemd has them in the other order
        only.add(_ALLOW, call)
    only.load()
    further.load()


def _expanded(words: list[str]) -> Iterator[str]:
    """The system calls that groups stand for, as this machine's systemd understands them."""
    for word in words:
        if word.startswith("@"):
            argv = ["systemd-analyze", "--no-pager", "syscall-filter", word]
            told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
            yield from _expanded([line.strip() for line in told.splitlines()[1:] if "#" not in line])
        else:
            yield word


if __name__ == "__main__":
    main()
