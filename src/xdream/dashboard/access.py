"""Who may see the page, and who may give orders: tokens, cookies, hosts and origins."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from starlette.requests import Request

from xdream.laboratory.rigs.access import is_loopback

#: What a page may load and do: its own files, and nothing inline. Images of the record come as blobs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """host: on which the page is served; only this machine's own is seen without the token. framed: whether
    a page of this machine (a notebook) may hold it in a frame."""

    host: str
    framed: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def headers(self) -> dict[str, str]:
        """Of every reply."""
        frames = "http://localhost:* http://127.0.0.1:*" if self.framed else "'none'"
        return HEADERS | {"Content-Security-Policy": f"{POLICY}frame-ancestors {frames}"}

    @property
    def seeing(self) -> str:
        """The cookie of those who may see: it gives no orders, and the token does not follow from it."""
        return hashlib.sha256(b"see " + self.token.encode()).hexdigest()

    def refuses(self, request: Request) -> str | None:
        """Why a request is not answered at all, or None."""
        host = request.headers.get("host", "")
        if is_loopback(self.host) and not is_loopback(_name_of(host)):
            return "this page is served to 127.0.0.1 and localhost only"
        if request.headers.get("origin") not in (None, f"http://{host}"):
            return "pages of other servers are not answered"
        if request.headers.get("sec-fetch-site") == "cross-site" and request.headers.get(
            "sec-fetch-dest"
        ) not in (
            "document",
            "iframe",
        ):
            return "pages of other servers are not answered"
        return None

    def sees(self, request: Request) -> bool:
        """Whether somebody may see what is in the record."""
        said = request.cookies.get(self.cookie(request), "")
        return is_loopback(self.host) or self.commands(request) or _same(said, self.seeing)

    def commands(self, request: Request) -> bool:
        """Whether a request has the token: in a header, which no page of another server can send."""
        kind, _, said = request.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and _same(said.strip(), self.token)

    def cookie(self, request: Request) -> str:
        """Its name: servers on several ports of one machine share a browser's cookies."""
        return f"xdream-watch-{request.url.port or 80}"


def _same(said: str, word: str) -> bool:
    return hmac.compare_digest(said.encode("utf-8", "replace"), word.encode())


def _name_of(host: str) -> str:
    return host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
