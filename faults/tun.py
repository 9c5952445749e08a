"""Makes a TUN device in the network namespace that it is run in, and hands over the other end of it.

    python tun.py HANDLE ADDRESS PEER

HANDLE is a socket, which gets the device; the namespace stays until standard input ends.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

from pushmirror.system import process

DEVICE = "tun0"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


def main() -> None:
    """Make it, hand it over, and stay until nobody needs the namespace."""
    handle, address, peer = sys.argv[1:]
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    for words in (["addr", "add", address, "peer", peer, "dev", DEVICE], ["link", "set", DEVICE, "up"]):
        process.run(["ip", *words], timeout_s=60).check()
    with socket.socket(fileno=int(handle)) as control:
        socket.send_fds(control, [b"here"], [device])
    os.close(device)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
