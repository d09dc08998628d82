"""Who may see and who may order; what the server never does."""

import asyncio
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.middleware.errors import ServerErrorMiddleware
from watched_session import led_session, plan_of

from xdream.cli.main import main
from xdream.dashboard import View, one_time, view
from xdream.dashboard.access import Access
from xdream.dashboard.one_time import OneTimeLink
from xdream.dashboard.server import WithHeaders
from xdream.errors import BadInput

OLD = Path(__file__).parents[1] / "old_records" / "schema-3"


class Client:
    """Requests to a page."""

    def __init__(self, url: str) -> None:
        address, _, self.token = url.partition("/#token=")
        host, _, port = address.removeprefix("http://").rpartition(":")
        self.host, self.port = host, int(port)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or bytes, headers)"""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        reply = connection.getresponse()
        data = reply.read()
        kind = reply.headers.get("content-type", "")
        connection.close()
        return reply.status, json.loads(data) if kind == "application/json" else data, dict(reply.headers)

    def order(self, said: Any, **headers: str) -> tuple[int, Any]:
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | headers
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        status, reply, _ = self.ask(
            "POST", "/order", body, **{k.replace("-", "_"): v for k, v in given.items()}
        )
        return status, reply

    def first_event(self) -> Any:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        connection.request("GET", "/events")
        reply = connection.getresponse()
        assert reply.status == 200
        assert reply.readline() == b"event: all\n"
        said = json.loads(reply.readline().removeprefix(b"data: "))
        connection.close()
        return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An old session that is not finished."""
    place = tmp_path_factory.mktemp("watched") / "session"
    shutil.copytree(OLD / "session", place)
    return place


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    with View(folder, port=0) as page:
        yield Client(page.url)


def test_the_page_and_its_files_are_given_with_a_strict_policy(client: Client) -> None:
    for path in ("/", "/static/page.js", "/static/uPlot.iife.js", "/static/page.css"):
        status, _, headers = client.ask("GET", path)
        assert status == 200
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert client.ask("GET", "/static/..%2f..%2fserver.py")[0] == 404
    assert client.ask("GET", "/static/nothing.js")[0] == 404


def test_nothing_of_the_page_comes_from_elsewhere_or_is_inline(client: Client) -> None:
    _, html, _ = client.ask("GET", "/")
    text = html.decode()
    assert "http:" not in text
    assert "https:" not in text
    assert "style=" not in text
    assert "onclick" not in text
    for part in text.split("<script")[1:]:
        assert part.startswith((' src="/static/', ' type="module" src="/static/'))


def test_pages_of_others_are_not_answered(client: Client) -> None:
    port = client.port
    assert client.ask("GET", "/overview", Host="evil.example")[0] == 403, (
        "a name that was bent to this machine"
    )
    assert client.ask("GET", "/overview", Origin="http://evil.example")[0] == 403
    assert client.ask("GET", "/overview", Origin=f"http://127.0.0.1:{port}")[0] == 200
    assert client.ask("GET", "/overview", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="empty")[0] == 403


def test_orders_need_the_token_and_the_same_origin_even_on_this_machine(client: Client, folder: Path) -> None:
    said = {"word": "pause", "value": "x"}
    assert client.order(said, Authorization="")[0] == 401
    assert client.order(said, Authorization="Bearer wrong")[0] == 401
    assert client.order(said, Authorization=f"Basic {client.token}")[0] == 401
    assert client.order(said, Origin="http://evil.example")[0] == 403
    assert client.order(said, Origin="null")[0] == 403
    assert client.order(said, **{"Content-Type": "text/plain"})[0] == 415, "what a form can send"
    status, reply, headers = client.ask("POST", "/enter", b"", Authorization=f"Bearer {client.token}")
    assert (status, reply) == (200, {"entered": True})
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.token not in cookie
    assert client.order(said, Authorization="", Cookie=cookie.partition(";")[0])[0] == 401, (
        "a cookie orders nothing"
    )
    assert not (folder / "orders").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "JSON object"),
        (b"[]", "JSON object"),
        (b"{}", "JSON object"),
        (b'{"word": "stop"}', "no order 'stop'"),
        (b'{"word": ["pause"]}', "no order"),
        (b'{"word": "pause", "value": 3}', "is text"),
        (b'{"word": "end", "runs": ["0"]}', "are numbers"),
        (b'{"word": "end", "runs": [true]}', "are numbers"),
        (b'{"word": "end", "runs": [99]}', "has no run 99"),
        (b'{"word": "pause", "value": "' + b"x" * 20_000 + b'"}', "at most 10000 bytes"),
    ],
)
def test_an_order_that_is_none_is_refused(client: Client, folder: Path, body: bytes, said: str) -> None:
    status, reply = client.order(body)
    assert status in (413, 422)
    assert said in reply["error"]
    assert not (folder / "orders").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/channel/99",
        "/cost/99",
        "/events?at=..",
        "/image/abc",
        f"/image/{'0' * 64}",
        "/channel/x",
        "/nothing",
    ],
)
def test_what_is_not_there_is_said_as_such(client: Client, path: str) -> None:
    status, reply, _ = client.ask("GET", path)
    assert status in (404, 422), reply
    assert b"Traceback" not in json.dumps(reply).encode() if isinstance(reply, dict) else True


LONG = "9" * 5000


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"/cost/{LONG}", 404),
        (f"/channel/{LONG}", 404),
        (f"/cost/{'9' * 20}", 404),
        ("/cost/99", 422),
        ("/nothing", 404),
        ("/order", 405),
        ("/open/guessed", 403),
        ("/events?at=..", 422),
    ],
)
def test_errors_carry_the_policy_of_the_page(client: Client, path: str, wanted: int) -> None:
    _, _, page = client.ask("GET", "/")
    status, _, headers = client.ask("GET", path)
    assert status == wanted
    for name in ("content-security-policy", "x-content-type-options", "cache-control", "referrer-policy"):
        assert headers[name] == page[name]


def test_a_fault_of_the_server_carries_the_policy_too() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    application = WithHeaders(ServerErrorMiddleware(fails), Access("127.0.0.1").headers)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(application(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert b"content-security-policy" in dict(sent[0]["headers"])


# ------------------------------------------------------------------ the link that opens the page once


def test_the_browser_is_started_without_the_token_and_by_a_link_that_works_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    replies: list[tuple[int, str | None]] = []

    def run(page: Any, bound: socket.socket) -> None:
        server = uvicorn.Server(uvicorn.Config(page.application, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            host, _, path = opened[0].removeprefix("http://").partition("/")
            for asked in (f"{path[:-1]}!", path, path):
                connection = http.client.HTTPConnection(host, timeout=20)
                connection.request("GET", f"/{asked}")
                reply = connection.getresponse()
                replies.append((reply.status, reply.headers.get("location")))
                connection.close()
        finally:
            server.should_exit = True
            thread.join(20)

    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr("xdream.dashboard.server.run", run)
    assert main(["watch", str(folder), "--port", "0", "--open"]) == 0
    token = capsys.readouterr().out.strip().partition("#token=")[2]
    assert token
    assert token not in opened[0]
    assert replies == [(403, None), (303, f"/#token={token}"), (403, None)]


def test_the_link_is_for_a_while_and_for_programs_of_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "tcp"
    monkeypatch.setattr(one_time, "CONNECTIONS", (table, tmp_path / "tcp6"))
    line = "   0: 0100007F:{0:04X} 0100007F:{1:04X} 01 00000000:00000000 00:00000000 00000000 {2:5d}  0 1\n"

    def connected(*of_users: int) -> None:
        table.write_text(
            "  sl  local_address rem_address\n" + "".join(line.format(40000, 8770, u) for u in of_users)
        )

    now = [0.0]
    link = OneTimeLink(lambda: now[0])
    connected()
    assert not link.opens(link.key, 40000, 8770), "nobody is known to have this connection"
    connected(os.getuid() + 1)
    assert not link.opens(link.key, 40000, 8770), "another user has read it in the list of processes"
    connected(os.getuid(), os.getuid() + 1)
    assert not link.opens(link.key, 40000, 8770), "another user has a connection of the same numbers"
    connected(os.getuid())
    now[0] = 61.0
    assert not link.opens(link.key, 40000, 8770)
    now[0] = 59.0
    assert not link.opens(link.key, 8770, 40000), "the other end of the same connection"
    assert link.opens(link.key, 40000, 8770)
    assert not link.opens(link.key, 40000, 8770)


def test_a_viewer_writes_nothing_into_the_record(client: Client, folder: Path) -> None:
    def digests() -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.iterdir()
            if path.is_file() and not path.name.endswith(("-shm", "-wal"))
        }

    before = digests()
    assert client.first_event()["rows"]
    for path in ("/channel/0", "/overview"):
        client.ask("GET", path)
    assert digests() == before


def test_an_order_is_obeyed_by_a_session_that_runs(tmp_path: Path) -> None:
    with led_session(tmp_path / "s"), View(tmp_path / "s", port=0) as page:
        client = Client(page.url)
        assert client.order({"word": "pause", "value": "water"}) == (200, {"obeyed": True})
        assert client.first_event()["live"]["paused"] == "water"
        status, reply = client.order({"word": "take-back"})
        assert status == 422
        assert "no rejection is held" in reply["error"]


# ------------------------------------------------------------------ elsewhere than on this machine


def test_elsewhere_nothing_is_seen_without_the_token(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "xdream.cli",
        "watch",
        str(folder),
        "--port",
        "0",
        "--json",
        "--with-parent",
    ]
    process = subprocess.Popen(
        [*command, "--host", "0.0.0.0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        client = Client(json.loads(process.stdout.readline())["url"])
        for path in ("/overview", "/events", "/channel/0", "/cost/1"):
            assert client.ask("GET", path)[0] == 401
        assert client.ask("GET", "/overview", Authorization=f"Bearer {client.token}")[0] == 200
        assert client.ask("POST", "/enter", b"")[0] == 401
        _, _, headers = client.ask("POST", "/enter", b"", Authorization=f"Bearer {client.token}")
        cookie = headers["set-cookie"].partition(";")[0]
        assert client.ask("GET", "/overview", Cookie=cookie)[0] == 200
        assert client.ask("GET", "/overview", Cookie=f"{cookie}x")[0] == 401
    finally:
        process.stdin.close()
        assert process.wait(20) == 0, "it ends with who has started it"
        process.stdout.close()


# ------------------------------------------------------------------ the command and the notebook


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "-1"], "no port"),
        (["--port", "70000"], "no port"),
        (["--port", "x"], "invalid int"),
        (["--host", "no.such.address.invalid", "--port", "0"], "cannot be had"),
    ],
)
def test_options_that_cannot_be_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    try:
        status = main(["watch", str(folder), *arguments])
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_a_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path)]) == 2
    assert "is no folder of an experiment" in capsys.readouterr().err
    with pytest.raises(BadInput, match="is no folder of an experiment"):
        view(tmp_path)


def test_a_port_that_is_taken_is_said_when_it_was_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["watch", str(folder), "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another with --port" in capsys.readouterr().err


def test_a_notebook_may_frame_it_and_nothing_else_may(folder: Path, client: Client) -> None:
    with view(folder) as shown:
        assert f'<iframe src="{shown.url}"' in shown._repr_html_()
        _, _, headers = Client(shown.url).ask("GET", "/")
        assert "frame-ancestors http://localhost:* http://127.0.0.1:*" in headers["content-security-policy"]
    _, _, headers = client.ask("GET", "/")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_the_page_ends_when_who_has_started_it_is_killed(folder: Path) -> None:
    code = (
        f"import os, signal; from xdream.dashboard import View; v = View({str(folder)!r}, port=0);"
        "print(v._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while True:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().split()[2] == "Z":  # nobody waits for it
                    break
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            break
        assert time.monotonic() < deadline, "the page outlives who has started it"
        time.sleep(0.02)


def test_serve_brings_its_page_and_takes_it_along(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_of(rig={"name": "http", "port": 0}).to_toml())
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "xdream.cli",
            "serve",
            str(plan),
            "--out",
            str(tmp_path / "s"),
            "--watch",
            "--quiet",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = next(line for line in process.stderr if line.startswith("watch: "))
    client = Client(line.removeprefix("watch: ").strip())
    assert client.first_event()["about"]["name"] == "watched"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    process.stderr.close()
    with pytest.raises(OSError, match=r"refused|reset"):
        client.ask("GET", "/overview")
