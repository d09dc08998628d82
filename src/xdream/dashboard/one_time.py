"""A link that opens the page once: what a browser is started with stands in the list of processes, for every
user of the machine to read, so the token must not be in it."""

from __future__ import annotations

import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

#: For so long it opens the page.
VALID_S = 60.0
#: Connections of this machine, with the user of each; other systems than Linux have no such files.
CONNECTIONS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class OneTimeLink:
    """key: in the link. It opens the page for a program of this user, once, and soon."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = secrets.token_urlsafe(24)
        self._clock, self._until = clock, clock() + VALID_S
        self._used = False

    def opens(self, key: str, client_port: int, server_port: int) -> bool:
        """Whether a connection with this key may have the token; the next one may not."""
        right = hmac.compare_digest(key.encode("utf-8", "replace"), self.key.encode())
        if self._used or not right or self._clock() > self._until or not _is_ours(client_port, server_port):
            return False
        self._used = True
        return True


def _is_ours(client_port: int, server_port: int) -> bool:
    """Whether the other end of a connection within this machine belongs to this user, where that is said."""
    if not CONNECTIONS[0].exists():
        return True
    users = set()
    for path in CONNECTIONS:
        for line in path.read_text("ascii").splitlines()[1:] if path.exists() else ():
            fields = line.split()  # number, local address, remote address, …, the user is the eighth
            ports = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
            if ports == [client_port, server_port]:
                users.add(int(fields[7]))
    return users == {os.getuid()}
