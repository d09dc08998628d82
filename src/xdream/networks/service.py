"""A model behind a service: images go to a URL as PNG, responses come back."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import torch

from xdream import proxies
from xdream.arrays import numbers
from xdream.errors import BadInput, SubjectError
from xdream.images.files import png
from xdream.networks.base import Network, Preprocessing, refuse_random
from xdream.networks.own import Function
from xdream.networks.weights import one_line

#: A request is given up after so long without an answer, or with one that has not ended; then it is sent
#: again, after waits that double.
TIMEOUT_S = 60.0
ATTEMPTS = 4
WAIT_S = 1.0
#: More than this is no answer to a batch.
MOST_BYTES = 64_000_000


def load(name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None) -> Network:
    """`http://…` or `https://…`. Images are sent as they are shown, or at a declared size.

    A request is JSON, {"images": [PNG in base64, …]}, and so is its answer, {"responses": [[number or null,
    …], …]}, a row for each image; null is a missing response. See examples/http_subject.py. Raises BadInput.
    """
    refuse_random(name, random_weights)
    _check_url(name)
    given = preprocessing or Preprocessing(None, scale=1.0)
    if (given.channels, given.scale, given.mean, given.std) != ("RGB", 1.0, (0.0,) * 3, (1.0,) * 3):
        raise BadInput(
            f"'{name}' is sent images as PNG; of its preprocessing only size_px can be declared, and scale 1"
        )

    def respond(images: torch.Tensor) -> torch.Tensor:
        return _responses(name, images.round().clamp(0.0, 255.0).to(torch.uint8).cpu())

    return Network(name, Function(respond), given, layers=False)


def _check_url(url: str) -> None:
    """Raise BadInput for what cannot be asked, however often."""
    try:
        parts = urllib.parse.urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        whole = False
    if not whole or any(character <= " " or character > "~" for character in url):
        raise BadInput(f"'{url}' is no address of a service; write http://HOST:PORT/PATH")


def _responses(url: str, images: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) uint8 -> (n, units) float64. Raises SubjectError."""
    body = json.dumps({"images": [base64.b64encode(png(image)).decode() for image in images]}).encode()
    answer = _sent(url, body)
    try:
        rows = json.loads(answer)["responses"]
        found = torch.from_numpy(numbers(rows, "responses"))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise SubjectError(
            f"{url} answered something that is no table of responses ({one_line(error)})"
        ) from None
    if found.ndim != 2 or len(found) != len(images):
        raise SubjectError(f"{url} gave responses of shape {tuple(found.shape)} for {len(images)} images")
    if bool(found.isinf().any()):
        raise SubjectError(f"{url} gave an infinite response; a missing one is null")
    return found


def _sent(url: str, body: bytes) -> bytes:
    """The answer to one request. A service that is away or fails is asked again. Raises SubjectError."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _answer(url, request)
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(300).decode(errors="replace").split())
            reason: str = f"{error.code} {error.reason}: {said}" if said else f"{error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):  # it will not do better
                raise SubjectError(f"{url} refused a batch{proxies.said(url)} ({reason})") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = one_line(error)
        if attempt < ATTEMPTS:
            time.sleep(WAIT_S * 2 ** (attempt - 1))
    raise SubjectError(
        f"{url} did not answer {ATTEMPTS} times{proxies.said(url)} ({reason}); start it, and begin or resume "
        "again"
    )


def _answer(url: str, request: urllib.request.Request) -> bytes:
    """What comes back from one attempt, whole. Raises SubjectError, OSError, HTTPException."""
    end = time.monotonic() + TIMEOUT_S
    answer = bytearray()
    with proxies.opener(url).open(request, timeout=TIMEOUT_S) as response:
        while part := response.read1(1 << 20):
            answer += part
            if len(answer) > MOST_BYTES:
                raise SubjectError(f"{url} answered with more than {MOST_BYTES:,} bytes")
            # The time-out of a connection begins anew with every byte.
            if time.monotonic() > end:
                raise TimeoutError(f"the answer has not ended after {TIMEOUT_S:g} s")
        if response.length:
            raise ConnectionError(f"the answer ended {response.length:,} bytes early")
    return bytes(answer)
