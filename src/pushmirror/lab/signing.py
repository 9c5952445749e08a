"""A new OpenPGP key for the lab, and signatures by it: real gpg, its own keyring, no agent left behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from pushmirror.lab.services import wait_until
from pushmirror.system import process

_TIMEOUT_S = 600.0
_SHORT = "/tmp"  # nosec B108  # noqa: S108  what is made in it has an unguessable name and mode 0700


@dataclass(frozen=True, slots=True)
class Signer:
    """gpg with a key; made by `LabKey.unlocked`."""

    home: Path

    def clear(self, text: bytes) -> bytes:
        """The text with its signature around it, as InRelease."""
        return self._gpg("--digest-algo", "SHA256", "--clear-sign", stdin=text)

    def detached(self, text: bytes) -> bytes:
        """The signature alone, as Release.gpg."""
        return self._gpg("--digest-algo", "SHA256", "--armor", "--detach-sign", stdin=text)

    def public_key(self) -> bytes:
        """The public key, binary, as gpgv wants its keyring."""
        exported = self.home / "exported.gpg"
        self._gpg("--yes", "--output", str(exported), "--export")
        return exported.read_bytes()

    def generate(self, owner: str) -> None:
        """Make the key of this keyring."""
        self._gpg("--passphrase", "", "--quick-gen-key", owner, "ed25519", "sign", "never")

    def _gpg(self, *words: str, stdin: bytes = b"") -> bytes:
        lines: list[bytes] = []  # line by line: `Result.output` is bounded
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--no-tty", "--quiet"]
        argv += ["--pinentry-mode", "loopback", "--trust-model", "always", *words]
        process.run(argv, stdin=stdin, on_line=lines.append, timeout_s=_TIMEOUT_S).check()
        return b"".join(line + b"\n" for line in lines)


@dataclass(frozen=True, slots=True)
class LabKey:
    """A key in a directory of its own."""

    directory: Path
    public: bytes

    @classmethod
    def create(cls, directory: Path, *, owner: str = "The Lab <lab@example.org>") -> LabKey:
        """Make a key; `directory` must not exist yet."""
        directory.mkdir(mode=0o700, parents=True)
        with _unlocked(directory) as signer:
            signer.generate(owner)
            return cls(directory, signer.public_key())

    @contextmanager
    def unlocked(self) -> Iterator[Signer]:
        """Sign as often as wanted; gpg's agent runs until the end of the block."""
        with _unlocked(self.directory) as signer:
            yield signer


@contextmanager
def _unlocked(directory: Path) -> Iterator[Signer]:
    # The agent's socket is in gpg's home, and its path may have at most 107 characters: hence a short link.
    with tempfile.TemporaryDirectory(prefix="pm-", dir=_SHORT) as short:
        home = Path(short, "g")
        home.symlink_to(directory.absolute())
        try:
            yield Signer(home)
        finally:
            _end_agent(home)


def _end_agent(home: Path) -> None:
    """End gpg's agent and wait for it: the next agent uses a socket of the same name."""
    gpgconf = ["gpgconf", "--homedir", str(home)]
    result = process.run([*gpgconf, "--list-dirs", "agent-socket"], timeout_s=_TIMEOUT_S).check()
    socket = Path(unquote_to_bytes(result.output.strip()).decode())
    process.run([*gpgconf, "--kill", "gpg-agent"], timeout_s=_TIMEOUT_S)
    wait_until(lambda: not socket.exists())
