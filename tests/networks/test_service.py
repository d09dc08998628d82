"""A model behind a service on this machine: the server of examples/, and one that fails."""

import contextlib
import http.server
import importlib.util
import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import xdream
from xdream import networks, testing
from xdream.errors import BadInput, SubjectError
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan
from xdream.networks import service
from xdream.networks.base import Preprocessing

EXAMPLE = Path(__file__).parents[2] / "examples" / "http_subject.py"


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """What is waited between attempts, without waiting."""
    found = []
    monkeypatch.setattr(service.time, "sleep", found.append)
    return found


def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/respond"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("http_subject", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield from running(module.server())


@pytest.fixture
def answers():
    """What a server answers, one after another, and what it was sent."""
    queue, seen = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = (
                queue.pop(0) if queue else (200, {"responses": [[1.0, None]] * len(seen[-1]["images"])})
            )
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    for url in running(server):
        yield url, queue, seen


def shown(n=3):
    return torch.randint(0, 256, (n, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_example_is_a_target(example, tmp_path):
    plan = Plan.make(
        targets=[f"{example}::0,1"],
        generator={"name": "pixels", "size_px": 9},
        optimizer={"name": "genetic", "population": 5},
        presentations=15,
        threads=1,
    )
    record = xdream.run(plan, tmp_path / "x")
    codes = np.stack(list(record.codes(0, 2).values())).reshape(-1, 3, 9, 9)
    means = (codes.clip(0, 1) * 255).round().mean((2, 3)) / 255
    np.testing.assert_allclose(record.scores(0)[2], means[:, 0] - means[:, 1:].mean(1), atol=1e-6)
    [subject] = assemble(plan).forward.subjects
    testing.check_subject(subject, 9)
    found = networks.load(example, Preprocessing((20, 20), scale=1.0))
    assert networks.layers(found)[-1].shape == (2,)


def test_a_missing_response_is_nan(answers):
    url, _, seen = answers
    reader, _ = networks.layer_reader(networks.load(url), [""], size_px=9)
    found = reader.read(shown())[""]
    assert found[:, 0].tolist() == [1.0] * 3
    assert found[:, 1].isnan().all()
    assert len(seen[-1]["images"]) == 3


def test_a_service_that_fails_is_asked_again(answers, waits):
    url, queue, _ = answers
    reader, _ = networks.layer_reader(networks.load(url), [""], size_px=9)
    queue += [(503, b"busy"), (429, b""), (200, {"responses": [[2.0, 3.0]] * 3})]
    assert reader.read(shown())[""][:, 0].tolist() == [2.0] * 3
    assert waits == [1.0, 2.0]
    queue += [(500, b"out of\nmemory")] * 4
    with pytest.raises(SubjectError, match=r"did not answer 4 times \(500 .*: out of memory\); start it"):
        reader.read(shown())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {"error": "no batch"}), "refused a batch .*no batch"),
        ((200, b"<html>"), "no table of responses"),
        ((200, {"responses": [[1.0, 2.0]]}), r"shape \(1, 2\) for 3 images"),
        ((200, {"responses": [[1.0], [1.0, 2.0], [1.0]]}), "no table of responses"),
        ((200, {"responses": [["x", 1.0]] * 3}), "no table of responses"),
        ((200, {"other": 1}), "no table of responses"),
        ((200, [1, 2]), "no table of responses"),
        ((200, b'{"responses": ' + b"[" * 100_000), "no table of responses"),
        ((200, {"responses": [[10**400]] * 3}), "no table of responses"),
        ((200, b'{"responses": [[1e999], [1], [1]]}'), "an infinite response; a missing one is null"),
    ],
)
def test_an_answer_that_is_none_is_said(answers, waits, answer, said):
    url, queue, _ = answers
    reader, _ = networks.layer_reader(networks.load(url), [""], size_px=9)
    queue.append(answer)
    with pytest.raises(SubjectError, match=said):
        reader.read(shown())
    assert waits == []


def test_a_service_that_changes_its_number_of_units_is_said(answers):
    url, queue, _ = answers
    plan = Plan.make(targets=[f"{url}::0,1"], generator={"name": "pixels", "size_px": 9}, threads=1)
    [subject] = assemble(plan).forward.subjects
    queue.append((200, {"responses": [[1.0]] * 3}))
    with pytest.raises(SubjectError, match=r"gave 1 units in layer '' instead of the 2 with which it began"):
        subject.respond(shown())


def test_nobody_there_is_bad_input_at_the_start(example, waits):
    with pytest.raises(BadInput, match=r"^http://127\.0\.0\.1:9/respond did not answer 4 times .*again$"):
        networks.layers(networks.load("http://127.0.0.1:9/respond"), 9)
    assert len(waits) == 3
    # A colon too few: the address is cut at its port. It is said without asking anybody.
    with pytest.raises(BadInput, match="leave the layer '9/respond' empty: NETWORK::UNITS"):
        networks.layer_reader(networks.load("http://127.0.0.1"), ["9/respond"])
    assert len(waits) == 3
    with pytest.raises(BadInput, match="only size_px can be declared"):
        networks.load(example, Preprocessing((9, 9)))
    with pytest.raises(BadInput, match="brings its own weights"):
        networks.load(example, random_weights=0)


def test_a_huge_answer_is_refused(answers, monkeypatch):
    url, queue, _ = answers
    reader, _ = networks.layer_reader(networks.load(url), [""], size_px=9)
    monkeypatch.setattr(service, "MOST_BYTES", 100)
    queue.append((200, b" " * 200))
    with pytest.raises(SubjectError, match="more than 100 bytes"):
        reader.read(shown())


@pytest.mark.parametrize(
    "url", ["http://", "http:///respond", "http://a:99999/x", "http://a:b/x", "http://a b/", "https://ü/"]
)
def test_an_address_that_is_none_is_said_at_once(url, waits):
    with pytest.raises(BadInput, match="is no address of a service; write http://HOST:PORT/PATH"):
        networks.load(url)
    assert waits == []


def speaking(replies):
    """A server that sends some bytes to each connection, as they are, the last ones to all that follow."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.02)
    over = threading.Event()

    def serve():
        left = list(replies)
        while not over.is_set():
            with contextlib.suppress(TimeoutError), listener.accept()[0] as connection:
                connection.settimeout(5)
                with contextlib.suppress(OSError):
                    received = b""
                    while b"}" not in received:
                        received += connection.recv(1 << 16)
                    for part in left.pop(0) if len(left) > 1 else left[0]:
                        connection.sendall(part)
                        over.wait(0.05)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    over.set()
    thread.join()
    listener.close()


BODY = b'{"responses": [[2.0], [2.0], [2.0]]}'
WHOLE = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def test_answers_that_break_off_or_are_no_http_are_asked_for_again(waits):
    for url in speaking([[b"hello\r\n"], [WHOLE[:-9]], [WHOLE]]):
        found = service._responses(url, shown())
    assert found.tolist() == [[2.0]] * 3
    assert waits == [1.0, 2.0]
    for url in speaking([[WHOLE[:-9]]]):
        with pytest.raises(SubjectError, match=r"did not answer 4 times \(.*early|IncompleteRead"):
            service._responses(url, shown())


def test_an_answer_that_never_ends_is_given_up(monkeypatch, waits):
    monkeypatch.setattr(service, "TIMEOUT_S", 0.3)
    head = b"HTTP/1.0 200 OK\r\n\r\n"
    for url in speaking([[head, *[b" "] * 40]]):
        with pytest.raises(SubjectError, match=r"the answer has not ended after 0\.3 s"):
            service._responses(url, shown())
    assert len(waits) == 3
