"""A model behind a service, as the smallest server that does it; put your own model into `respond`.

    python examples/http_subject.py --port 8000
    xdream evolve --target http://127.0.0.1:8000/respond::0 --presentations 500

POST /respond takes {"images": [PNG in base64, …]} and gives {"responses": [[number or null, …], …]}: a row
for each image, a number for each unit, null where there is none. It listens on this machine only: put it
behind a server with a login before others can reach it.
"""

from __future__ import annotations

import argparse
import base64
import http.server
import io
import json

import numpy as np
from PIL import Image


def respond(image: np.ndarray) -> list[float | None]:
    """(height, width, 3) uint8 -> the response of each unit: here redness and brightness."""
    red, green, blue = image.reshape(-1, 3).mean(0) / 255.0
    return [float(red - (green + blue) / 2), float((red + green + blue) / 3)]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers a batch."""

    def do_POST(self) -> None:
        """Responses to the images that were sent."""
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            images = [
                np.array(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB"))
                for one in body["images"]
            ]
        except Exception as error:  # whatever was sent
            self._answer(400, {"error": f"no batch of images: {error}"})
            return
        self._answer(200, {"responses": [respond(image) for image in images]})

    def _answer(self, status: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing for each batch."""


def server(port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server that listens on this machine; port 0: any free one."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    print(f"http://127.0.0.1:{options.port}/respond")
    server(options.port).serve_forever()
