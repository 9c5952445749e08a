"""`rsync-ssl-tunnel`: archvsync's remote shell for rsync over TLS.

Options, variables and exit codes are archvsync's; `fetch/tls_program.py` starts the program. Differences:
IPv6 addresses work, and an address is compared with the certificate's addresses.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pushmirror.config.model import TlsMethod
from pushmirror.errors import Exit, PushmirrorError
from pushmirror.fetch.tls_program import become

_USAGE = """\
Usage: {program} [OPTION]... RSYNC_HOST

  -C PATH    directory or file of trusted authorities (default: /etc/ssl/certs)
  -m METHOD  stunnel, stunnel-old (does not check the certificate's name) or socat (default: stunnel)
  -p PORT    port (default: 1873)
  -l USER    ignored; rsync passes it
  -h         show this help and exit

The variables RSYNC_SSL_CAPATH, RSYNC_SSL_METHOD and RSYNC_SSL_PORT set the defaults.
"""
_METHODS = {
    "stunnel": TlsMethod.STUNNEL,
    "stunnel4": TlsMethod.STUNNEL,
    "stunnel-old": TlsMethod.STUNNEL_OLD,
    "stunnel4-old": TlsMethod.STUNNEL_OLD,
    "socat": TlsMethod.SOCAT,
}
_DEFAULTS = {"C": "/etc/ssl/certs", "m": "stunnel", "p": "1873"}
_VARIABLES = {"C": "RSYNC_SSL_CAPATH", "m": "RSYNC_SSL_METHOD", "p": "RSYNC_SSL_PORT"}


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Become the TLS program; returns an exit code only if that failed."""
    words = list(sys.argv if argv is None else argv)
    try:
        options, operands = getopt.getopt(words[1:], "C:hl:m:p:")
    except getopt.GetoptError as exc:
        return _refuse(words[0], str(exc))
    if ("-h", "") in options:
        sys.stdout.write(_usage(words[0]))
        return Exit.OK
    if not operands:
        return _refuse(words[0], "No arguments given.")
    said = _settings(dict(options), os.environ if environment is None else environment)
    if said["m"] not in _METHODS:
        sys.stderr.write(f"Unknown method {said['m']}.\n")
        return Exit.FAILED
    if not (said["p"].isascii() and said["p"].isdigit()):
        return _refuse(words[0], f"expected a port number, found {said['p']!r}")
    try:
        become(_METHODS[said["m"]], operands[0], int(said["p"]), Path(said["C"]))
    except PushmirrorError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code


def _settings(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Each setting's option, else its variable, else its default; an empty one counts as unset."""
    return {
        letter: options.get(f"-{letter}", environment.get(_VARIABLES[letter], "")) or default
        for letter, default in _DEFAULTS.items()
    }


def _usage(program: str) -> str:
    return _USAGE.format(program=Path(program).name)


def _refuse(program: str, why: str) -> int:
    sys.stderr.write(f"{why}\n{_usage(program)}")
    return Exit.USAGE


if __name__ == "__main__":
    sys.exit(main())
