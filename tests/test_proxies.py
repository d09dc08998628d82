"""A proxy of the environment is not asked for what is on this machine, and is named where it is asked."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
import torch

from xdream import networks, proxies
from xdream.errors import SubjectError
from xdream.networks import service, weights


@pytest.fixture(autouse=True)
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://user:secret@127.0.0.1:9")
    monkeypatch.setattr(service.time, "sleep", lambda seconds: None)


@pytest.fixture
def http_answers() -> Iterator[str]:
    """A service that answers 1 for each image."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            images = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["images"]
            body = json.dumps({"responses": [[1.0]] * len(images)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/r"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "host",
    "localhost LOCALHOST. x.localhost 127.0.0.1 127.3.2.1 127.1 ::1 [::1] ::ffff:127.0.0.1 0.0.0.0".split(),
)
def test_this_machine_by_every_name(host: str) -> None:
    assert proxies.is_here(host)


@pytest.mark.parametrize(
    "host", ["", "example.org", "localhost.example.org", "10.0.0.1", "128.0.0.1", "::2", "1.127"]
)
def test_other_machines(host: str) -> None:
    assert not proxies.is_here(host)


def test_a_service_of_this_machine_is_reached(http_answers: str) -> None:
    network = networks.load(http_answers.replace("127.0.0.1", "LocalHost"))
    found = network.module(torch.zeros(2, 3, 4, 4))
    assert found.tolist() == [[1.0], [1.0]]


def test_a_service_elsewhere_is_asked_through_the_proxy_which_is_named() -> None:
    network = networks.load("http://service.invalid:80/r")
    with pytest.raises(SubjectError) as caught:
        network.module(torch.zeros(1, 3, 4, 4))
    said = str(caught.value)
    assert "through the proxy 127.0.0.1:9 (http_proxy; no_proxy=service.invalid goes without)" in said
    assert "secret" not in said


def test_no_proxy_is_named_where_none_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxies.said("http://127.0.0.1:1/r") == ""
    monkeypatch.setenv("no_proxy", "service.invalid")
    assert proxies.said("http://service.invalid/r") == ""
    monkeypatch.delenv("http_proxy")
    assert proxies.said("http://elsewhere.invalid/r") == ""


def test_a_download_that_fails_names_the_proxy() -> None:
    entry = weights.known("squeezenet1.1")
    assert "through the proxy 127.0.0.1:9 (https_proxy)" in str(weights._not_fetched(entry, "no answer"))
