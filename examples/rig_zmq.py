"""A rig over ZMQ, as the smallest client that does it; put your display and recording into `show`.

python examples/rig_zmq.py tcp://127.0.0.1:8766
"""

import base64
import os
import sys
import time

import zmq

socket = zmq.Context().socket(zmq.REQ)
socket.setsockopt(zmq.RCVTIMEO, 60_000)  # longer than the bridge leaves a rig waiting
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:8766")


def show(png: bytes, block: dict) -> list[float]:
    """Show an image for block["show_ms"]; return a number for each channel: here how bright its file is."""
    return [sum(png) / len(png) + number for number, _ in enumerate(block["channels"])]


def ask(do: str, **message: object) -> dict:
    """A reply, as JSON."""
    socket.send_json({"do": do, "token": os.environ.get("XDREAM_RIG_TOKEN"), **message})
    return socket.recv_json()


while (block := ask("block", rig="example")).get("state") != "over":
    if block.get("state") != "showing":  # paused, or another rig has the block
        print(block)
        time.sleep(1)
        continue
    answer = {key: block[key] for key in ("session", "block", "fence")} | {"last": True, "responses": []}
    for one in block["order"]:
        values = show(base64.b64decode(block["images"][one["image"]]), block)
        answer["responses"].append({"image": one["image"], "repeat": one["repeat"], "values": values})
    while (reply := ask("responses", **answer))["code"] == 503 and "state" not in reply:
        print(reply)  # not decided yet: the same once more does no harm
    print(reply)
