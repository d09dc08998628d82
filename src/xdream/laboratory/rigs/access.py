"""Where a bridge listens, and who is let in: port, token, limits of one message."""

from __future__ import annotations

import errno
import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from xdream.errors import BadInput, InUse

TOKEN_VARIABLE = "XDREAM_RIG_TOKEN"
#: Options of the bridges that listen.
PortNumber: TypeAlias = Annotated[int, Field(ge=0, le=65_535)]
MostMegabytes: TypeAlias = Annotated[float, Field(ge=0.001, le=2_000)]
ReplyTimeout: TypeAlias = Annotated[float, Field(ge=0.001, le=3_600)]


class Token:
    """The word that a rig must know, or none: given, in a file, or in XDREAM_RIG_TOKEN. Never shown."""

    def __init__(self, token: str | None, token_file: str | Path | None, host: str) -> None:
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
            with Path(self._file).expanduser().open("rb") as file:
                self._token = file.read(4096).decode("ascii").strip()
        except (OSError, ValueError) as error:
            raise BadInput(f"token_file '{self._file}' cannot be read: {error}") from None
        self._check()

    @property
    def word(self) -> str | None:
        """The token itself, for a rig; None without one."""
        return self._token

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
        token_file: str | Path | None,
        most_mb: float,
        reply_timeout_s: float,
    ) -> Port:
        """That of a bridge's options. Raises BadInput."""
        known = Token(token, token_file, host)
        return cls(host, number, known, int(most_mb * 1e6), float(reply_timeout_s))

    def cannot_be_had(self, error: BaseException) -> BadInput:
        """What to say when it is taken."""
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        return (InUse if taken else BadInput)(
            f"port {self.number} of {self.host} cannot be had ({error}); is another session running? "
            "Choose another port"
        )


def word_of(token: str | None, token_file: Path | None) -> str | None:
    """The token that a rig on this machine sends, found as the bridge finds it. Raises BadInput."""
    known = Token(token, token_file, "localhost")
    known.read()
    return known.word


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host in ("localhost", "::1", "[::1]") or (
        host.startswith("127.") and all(part.isdecimal() for part in host.split("."))
    )


def reachable(host: str) -> str:
    """The address, as a URL has it, at which a client on this machine finds who listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
    return f"[{host}]" if ":" in host else host
