"""Where a bridge listens, and who is let in: port, token, limits of one message."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from xdream.errors import BadInput

TOKEN_VARIABLE = "XDREAM_RIG_TOKEN"


class Token:
    """The word that a rig must know, or none: given, in a file, or in XDREAM_RIG_TOKEN. Never shown."""

    def __init__(self, token: str | None, token_file: str | None, host: str) -> None:
        """Raises BadInput: two of them, one that cannot be in a header, or none beyond this machine."""
        if token is not None and token_file is not None:
            raise BadInput("both token and token_file are given; leave one out")
        self._file = token_file
        self._token = token if token is not None or token_file is not None else os.environ.get(TOKEN_VARIABLE)
        if self._token is not None:
            self._check()
        elif token_file is None and not is_loopback(host):
            raise BadInput(
                f"host '{host}' can be reached from other machines and there is no token; give token_file "
                f"(or set {TOKEN_VARIABLE}), or use host 127.0.0.1"
            )

    def read(self) -> None:
        """Read the file, where it is in one. Raises BadInput."""
        if self._file is None:
            return
        try:
            with Path(self._file).open("rb") as file:
                self._token = file.read(4096).decode("ascii").strip()
        except (OSError, ValueError) as error:
            raise BadInput(f"token_file '{self._file}' cannot be read: {error}") from None
        self._check()

    def admits(self, said: object) -> bool:
        """Whether this is the token, in constant time."""
        if self._token is None:
            return True
        text = said if isinstance(said, str) else ""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def _check(self) -> None:
        token = self._token or ""
        if not token.isascii() or not token.isprintable() or " " in token or not 8 <= len(token) <= 256:
            raise BadInput(
                "the token is not of 8 to 256 letters, digits and signs without spaces; make another"
            )


@dataclass(frozen=True)
class Port:
    """Where a bridge listens, and to whom. most_bytes: of one message."""

    host: str
    number: int
    token: Token
    most_bytes: int
    reply_timeout_s: float

    @classmethod
    def of(
        cls,
        host: str,
        number: int,
        token: str | None,
        token_file: str | None,
        most_mb: float,
        reply_timeout_s: float,
    ) -> Port:
        """That of a bridge's options. Raises BadInput."""
        check_number("port", number, 0, 65_535)
        check_number("most_mb", most_mb, 0.001, 2_000)
        check_number("reply_timeout_s", reply_timeout_s, 0.001, 3_600)
        known = Token(token, token_file, host)
        return cls(host, number, known, int(most_mb * 1e6), float(reply_timeout_s))

    def cannot_be_had(self, error: BaseException) -> BadInput:
        """What to say when it is taken."""
        return BadInput(
            f"port {self.number} of {self.host} cannot be had ({error}); is another session running? "
            "Choose another port"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host in ("localhost", "::1", "[::1]") or (
        host.startswith("127.") and all(part.isdecimal() for part in host.split("."))
    )


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raises BadInput."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise BadInput(f"{name} is {value!r}; give a number from {low:g} to {high:g}")
