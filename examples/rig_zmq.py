"""A rig over ZMQ, as the smallest client that does it; put your display and recording into `show`.

python examples/rig_zmq.py tcp://127.0.0.1:8766
"""

import base64
import json
import os
import sys
import time

import zmq


def show(png: bytes, show_ms: float, channels: list[str]) -> list[float]:
    """Show an image and return the response of each channel: here how bright its file is."""
    return [sum(png) / len(png) + number for number, _ in enumerate(channels)]


socket = zmq.Context().socket(zmq.REQ)
socket.setsockopt(zmq.RCVTIMEO, 60_000)  # longer than the bridge leaves a rig waiting
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:8766")


def ask(do: str, **message: object) -> dict:
    """A reply, as JSON."""
    socket.send_json({"do": do, "token": os.environ.get("XDREAM_RIG_TOKEN"), **message})
    return json.loads(socket.recv())


while (block := ask("block", rig="example")).get("state") != "over":
    if "order" not in block:  # paused, or another rig has the block
        print(block.get("reason", block.get("error")))
        time.sleep(1)
        continue
    images = {name: base64.b64decode(png) for name, png in block["images"].items()}
    responses = [
        {key: one[key] for key in ("image", "repeat")}
        | {"values": show(images[one["image"]], block["show_ms"], block["channels"])}
        for one in block["order"]
    ]
    answer = {key: block[key] for key in ("session", "block", "fence")}
    reply = ask("responses", **answer, last=True, responses=responses)
    while reply["code"] == 503 and "state" not in reply:  # not decided yet: the same once more does no harm
        reply = ask("responses", **answer, last=True, responses=responses)
    print(reply.get("error") or reply["counts"])
    if reply.get("state") == "over":
        break
