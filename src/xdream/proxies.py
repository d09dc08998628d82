"""Which way a request goes: never through a proxy to this machine, and elsewhere as the environment says."""

from __future__ import annotations

import ipaddress
import socket
import urllib.parse
import urllib.request


def is_here(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:  # 127.1 and other short forms
            address = ipaddress.ip_address(socket.inet_aton(name))
        except (OSError, UnicodeError):
            return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def opener(url: str) -> urllib.request.OpenerDirector:
    """What opens a URL: for this machine without a proxy, which could not reach it."""
    if is_here(urllib.parse.urlsplit(url).hostname or ""):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def said(url: str) -> str:
    """For a message about a URL that did not answer: the proxy through which it was asked; "" without one."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or is_here(parts.hostname or "") or urllib.request.proxy_bypass(parts.netloc):
        return ""
    at = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    shown = f"{at.hostname}{'' if at.port is None else f':{at.port}'}"  # without a password
    without = f"; no_proxy={parts.hostname} goes without" if parts.hostname else ""
    return f", through the proxy {shown} ({parts.scheme}_proxy{without})"
