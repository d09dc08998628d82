"""Every bridge of the house with the rig behind it, for `xdream.testing.check_bridge`."""

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import numpy as np
from streams import free_port

from xdream.laboratory.rigs import Bridge, DisplayAndRecorder, Folder, Http, Intan, OpenEphys, Zmq, forms
from xdream.laboratory.rigs.lsl import Lsl
from xdream.laboratory.simulation.base import Driver
from xdream.laboratory.simulation.folder import FolderDriver
from xdream.laboratory.simulation.http import HttpDriver
from xdream.laboratory.simulation.intan import IntanDriver
from xdream.laboratory.simulation.lsl import LslDriver
from xdream.laboratory.simulation.messages import MessageDriver, NoReply
from xdream.laboratory.simulation.open_ephys import OpenEphysDriver
from xdream.laboratory.simulation.zmq import ZmqDriver
from xdream.scoring.recordings import Recorded, Spikes
from xdream.testing import BridgeAdapter
from xdream.testing.bridges import Shown
from xdream.testing.sessions import DAMAGES, a_block

#: A driver whose bridge has gone for so long gives up.
QUICK = {"gone_s": 0.3, "timeout_s": 10.0}
NOT_ASKED = {
    "of_two_rigs_one_holds_the_block": "nobody asks for blocks",
    "a_pause_is_no_end": "nobody asks for blocks",
    "closing_ends_a_rig_that_waits": "nobody waits for a reply",
}


class OverHttp(BridgeAdapter):
    replies = True

    def __init__(self, pixels: str = "png") -> None:
        self.pixels, self.port = pixels, free_port()

    def bridge(self) -> Bridge:
        return Http(port=self.port)

    def rig(self, bridge: Any, name: str, shown: Shown) -> Driver:
        return HttpDriver(bridge.url, rig=name, pixels=self.pixels, **QUICK)


class Socket:
    """A medium of `MessageDriver`: one WebSocket for each question."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, do: str, message: forms.Json, spoil: Callable[[bytes], bytes] | None) -> tuple[int, Any]:
        data = json.dumps({"do": do, **message}).encode()
        try:
            said = asyncio.run(self._ask(data if spoil is None else spoil(data)))
        except (aiohttp.ClientError, OSError, TypeError) as error:  # TypeError: closed instead of a reply
            raise NoReply(str(error)) from None
        return said.pop("code"), said

    async def _ask(self, data: bytes) -> Any:
        async with aiohttp.ClientSession() as client, client.ws_connect(self.url) as opened:
            await opened.send_bytes(data)
            while True:
                found = await opened.receive_json()
                if "event" not in found:
                    return found

    def hang_up(self) -> None:
        pass


class OverAWebSocket(OverHttp):
    def rig(self, bridge: Any, name: str, shown: Shown) -> Driver:
        return MessageDriver(Socket(f"{bridge.url}/socket"), rig=name, gone_s=0.3)


class OverZmq(BridgeAdapter):
    replies = True

    def __init__(self) -> None:
        self.port = free_port()

    def bridge(self) -> Bridge:
        return Zmq(port=self.port)

    def rig(self, bridge: Any, name: str, shown: Shown) -> Driver:
        return ZmqDriver(bridge.url, rig=name, **QUICK)


class InAFolder(BridgeAdapter):
    asks = False
    without: ClassVar = NOT_ASKED

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bridge(self) -> Bridge:
        return Folder(self.folder, poll_s=0.01, stable_s=0.05)

    def rig(self, bridge: Bridge, name: str, shown: Shown) -> Driver:
        return FolderDriver(self.folder, channels=3, poll_s=0.01)


#: A zip file may have something before it, and of HDF5 the last bytes may be of no use.
_HARMLESS = ("zero at its end", "led by another byte")


class InAFolderAsTheOriginal(InAFolder):
    kinds: ClassVar = ()
    damages: ClassVar = {name: spoil for name, spoil in DAMAGES.items() if name not in _HARMLESS}
    without: ClassVar = NOT_ASKED | {
        "last_ends_a_block_that_is_not_answered_whole": "fewer rows than files leave the block open"
    }

    def __init__(self, folder: Path, answer_format: str) -> None:
        super().__init__(folder)
        self.answer_format = answer_format

    def bridge(self) -> Bridge:
        return Folder(self.folder, "original", poll_s=0.01, stable_s=0.05)

    def rig(self, bridge: Bridge, name: str, shown: Shown) -> Driver:
        return FolderDriver(self.folder, "original", self.answer_format, channels=3, poll_s=0.01)


class OverLsl(BridgeAdapter):
    asks = False
    without: ClassVar = NOT_ASKED | {
        "images_arrive_exactly_and_in_order": "images are shown by another bridge",
        "the_end_of_the_session_is_told": "the display is told",
    }
    numbers = itertools.count()

    def __init__(self) -> None:
        number = next(self.numbers)
        self.names = {"stream": f"answers-{number}", "markers": f"markers-{number}"}

    def bridge(self) -> Bridge:
        return Lsl(**self.names, again_s=0.2)

    def rig(self, bridge: Bridge, name: str, shown: Shown) -> Driver:
        return LslDriver(shown, len(self.channels), **self.names)


def spikes(number: int, channels: int) -> Spikes:
    """At whole milliseconds, so that any sampling rate keeps them."""
    times = np.array([-20.0, 3.0 + number, 150.0 + number])
    return Spikes(times, np.array([0, number % channels, 0]), channels, -100.0, 300.0)


def code(image: str, repeat: int) -> int:
    """As `a_block` gave it."""
    block = a_block(int(image.split("-g")[1][:4]))
    return next(p.code for p in block.presentations if (p.image, p.repeat) == (image, repeat))


class OfARecorder(BridgeAdapter):
    """It sends spikes as they come, and knows no answers as a whole."""

    asks = False
    without: ClassVar = OverLsl.without | {
        "last_ends_a_block_that_is_not_answered_whole": "a recorder does not know what is left",
        "damaged_answers_are_faults_and_the_whole_one_is_taken_afterwards": (
            "a damaged message makes its window missing: see the recorder's own tests"
        ),
    }

    def response(self, number: int) -> Recorded:
        return spikes(number, len(self.channels))

    def edge_cases(self) -> list[Recorded | None]:
        silent = Spikes(np.empty(0), np.empty(0, dtype=np.int64), len(self.channels), -100.0, 300.0)
        edges = Spikes(np.array([-100.0, 299.0]), np.array([1, 1]), len(self.channels), -100.0, 300.0)
        return [silent, edges, spikes(5, len(self.channels)), None]


class FromOpenEphys(OfARecorder):
    channels = ("E1:1", "E2", "E3")

    def __init__(self) -> None:
        self.port = free_port(2)

    def bridge(self) -> Bridge:
        return OpenEphys(port=self.port)

    def rig(self, bridge: Bridge, name: str, shown: Any) -> Driver:
        return OpenEphysDriver(shown, [("E1", 1), ("E2", 0), ("E3", 0)], self.port)


class FromOpenEphysByWord(FromOpenEphys):
    def bridge(self) -> Bridge:
        return OpenEphys(port=self.port, onset="word")

    def rig(self, bridge: Bridge, name: str, shown: Any) -> Driver:
        return OpenEphysDriver(shown, [("E1", 1), ("E2", 0), ("E3", 0)], self.port, codes=code)


class FromIntan(OfARecorder):
    channels = ("A-000", "A-001", "A-002")
    without: ClassVar = OfARecorder.without | {
        "a_rig_that_was_away_goes_on": "until both outputs are heard again all is missing: see its own tests"
    }

    def __init__(self) -> None:
        self.ports = (free_port(), free_port())

    def bridge(self) -> Bridge:
        return Intan(1000, waveform_port=self.ports[0], spike_port=self.ports[1], settle_ms=2)

    def rig(self, bridge: Bridge, name: str, shown: Any) -> Driver:
        return IntanDriver(shown, self.channels, code, self.ports, rate_hz=1000.0)

    def edge_cases(self) -> list[Recorded | None]:
        # A missing one is played by closing both outputs, which is a fault of its own: see its own tests.
        return [one for one in super().edge_cases() if one is not None]


class WithItsDisplay(OpenEphysDriver):
    def close(self) -> None:
        super().close()
        self._display.close()


class OfADisplayAndARecorder(FromOpenEphys):
    """HTTP shows, Open Ephys records."""

    asks = True
    without: ClassVar = {
        name: reason
        for name, reason in OfARecorder.without.items()
        if name.startswith(("last_ends", "damaged"))
    } | {
        "of_two_rigs_one_holds_the_block": "the recorder answers whoever has the block",
    }

    def __init__(self) -> None:
        super().__init__()
        self.display = OverHttp("raw")

    def bridge(self) -> Bridge:
        return DisplayAndRecorder(self.display.bridge(), super().bridge())

    def rig(self, bridge: Any, name: str, shown: Shown) -> Driver:
        display = self.display.rig(bridge._display, name, shown)
        return WithItsDisplay(display, [("E1", 1), ("E2", 0), ("E3", 0)], self.port)
