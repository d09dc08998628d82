"""A simulated rig's end of the bridge `http`, with the standard library only."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xdream.errors import BadInput
from xdream.laboratory.rigs import forms, json_messages
from xdream.laboratory.rigs.access import reachable, word_of
from xdream.laboratory.simulation.base import RigSetup
from xdream.laboratory.simulation.messages import MessageDriver, NoReply


class HttpDriver(MessageDriver):
    """Over HTTP. url: the bridge's. token: where it wants one. timeout_s: for one reply. Others: see base."""

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 60.0, **options: Any) -> None:
        super().__init__(_Requests(url, token, timeout_s), **options)

    @classmethod
    def for_bridge(
        cls, setup: RigSetup, host: str, port: int, token: str | None, token_file: Path | None
    ) -> HttpDriver:
        """For the bridge `http` on this machine. Raises BadInput."""
        return cls(f"http://{reachable(host)}:{port}", word_of(token, token_file))


class _Requests:
    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None or parts.port is None:
            raise BadInput(f"'{url}' is no address of a bridge; give http://HOST:PORT")
        self._host, self._port, self._timeout_s = parts.hostname, parts.port, timeout_s
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self, do: str, message: forms.Json, spoil: Callable[[bytes], bytes] | None
    ) -> tuple[int, forms.Json]:
        """GET /block, or POST."""
        if do == "block":
            return self._request("GET", f"/block?{urllib.parse.urlencode(message)}", None)
        body = json_messages.dumps(message)
        return self._request("POST", f"/{do}", body if spoil is None else spoil(body))

    def hang_up(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, forms.Json]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            self._connection.request(
                method, path, body, {**self._headers, "Content-Type": "application/json"}
            )
            response = self._connection.getresponse()
            said = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # AttributeError: another thread has hung up
            self.hang_up()
            raise NoReply(str(error)) from None
        return response.status, said if isinstance(said, dict) else {}
