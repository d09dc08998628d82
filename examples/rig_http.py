"""A rig over HTTP, with the standard library only; put your display and recording into `show`.

python examples/rig_http.py http://127.0.0.1:8765
"""

import base64
import json
import os
import sys
import time
import urllib.request

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8765"
# Without a proxy: it could not reach XDream on this computer, nor in the laboratory.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
HEADERS = {"Content-Type": "application/json"}
if token := os.environ.get("XDREAM_RIG_TOKEN"):
    HEADERS["Authorization"] = f"Bearer {token}"


def show(png: bytes, block: dict) -> list[float]:
    """Show an image for block["show_ms"]; return a number for each channel: here how bright its file is."""
    return [sum(png) / len(png) + number for number, _ in enumerate(block["channels"])]


def ask(path: str, message: dict | None = None) -> dict:
    """A reply, as JSON."""
    body = None if message is None else json.dumps(message).encode()
    try:
        return json.load(OPENER.open(urllib.request.Request(URL + path, body, HEADERS), timeout=60))
    except urllib.request.HTTPError as error:
        return json.load(error) | {"code": error.code}


while (block := ask("/block?rig=example")).get("state") != "over":
    if block.get("state") != "showing":  # paused, or another rig has the block
        print(block)
        time.sleep(1)
        continue
    answer = {key: block[key] for key in ("session", "block", "fence")} | {"last": True, "responses": []}
    for one in block["order"]:
        values = show(base64.b64decode(block["images"][one["image"]]), block)
        answer["responses"].append({"image": one["image"], "repeat": one["repeat"], "values": values})
    while (reply := ask("/responses", answer)).get("code") == 503 and "state" not in reply:
        print(reply)  # not decided yet: the same once more does no harm
    print(reply)
