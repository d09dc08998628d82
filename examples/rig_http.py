"""A rig over HTTP, with the standard library only; put your display and recording into `show`.

python examples/rig_http.py http://127.0.0.1:8765
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8765"
TOKEN = {"Authorization": f"Bearer {os.environ.get('XDREAM_RIG_TOKEN', '')}"}


def show(png: bytes, show_ms: float, channels: list[str]) -> list[float]:
    """Show an image and return the response of each channel: here how bright its file is."""
    return [sum(png) / len(png) + number for number, _ in enumerate(channels)]


def ask(path: str, message: object = None) -> dict:
    """A reply, as JSON."""
    body = None if message is None else json.dumps(message).encode()
    request = urllib.request.Request(URL + path, body, {"Content-Type": "application/json", **TOKEN})
    try:
        return json.load(urllib.request.urlopen(request, timeout=60))
    except urllib.error.HTTPError as error:
        return {"code": error.code, **json.load(error)}


while (block := ask("/block?rig=example")).get("state") != "over":
    if "order" not in block:  # paused, or another rig has the block
        print(block)
        time.sleep(1)
        continue
    images = {name: base64.b64decode(png) for name, png in block["images"].items()}
    answer = {key: block[key] for key in ("session", "block", "fence")} | {"last": True}
    answer["responses"] = [
        {"image": one["image"], "repeat": one["repeat"]}
        | {"values": show(images[one["image"]], block["show_ms"], block["channels"])}
        for one in block["order"]
    ]
    while (reply := ask("/responses", answer)).get("code") == 503 and "state" not in reply:
        print(reply)  # not decided yet: the same once more does no harm
    print(reply)
