"""The suite that every bridge passes, over all of them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapters
import pytest

from xdream.laboratory.simulation.folder import FORMATS
from xdream.testing import BridgeAdapter, bridge_checks, check_bridge

#: `Direct` is missing: within one process nothing is carried, and its rig is a function.
BRIDGES: dict[str, Callable[[Path], BridgeAdapter]] = {
    "http": lambda _: adapters.OverHttp(),
    "http, raw": lambda _: adapters.OverHttp("raw"),
    "websocket": lambda _: adapters.OverAWebSocket(),
    "zmq": lambda _: adapters.OverZmq(),
    "lsl": lambda _: adapters.OverLsl(),
    "open-ephys": lambda _: adapters.FromOpenEphys(),
    "open-ephys, word": lambda _: adapters.FromOpenEphysByWord(),
    "intan": lambda _: adapters.FromIntan(),
    "display and recorder": lambda _: adapters.OfADisplayAndARecorder(),
    "folder": adapters.InAFolder,
    **{
        f"folder, original, {suffix}": functools.partial(
            adapters.InAFolderAsTheOriginal, answer_format=suffix
        )
        for suffix in FORMATS
    },
}
#: What depends on the format of a file; the rest is seen with one of them.
OF_FORMATS = (
    "answers_are_joined_by_image_and_repeat",
    "every_kind_of_recording_arrives_bit_for_bit",
    "an_answer_may_come_in_parts_in_any_order",
    "damaged_answers_are_faults_and_the_whole_one_is_taken_afterwards",
)
CASES = [
    (name, check)
    for name, make in BRIDGES.items()
    for check in bridge_checks(make(Path()))
    if not name.startswith("folder, original") or name.endswith(", mat") or check in OF_FORMATS
]


@pytest.fixture
def adapter(request: Any, tmp_path: Path) -> BridgeAdapter:
    if request.param == "lsl":
        request.getfixturevalue("lsl")
    return BRIDGES[request.param](tmp_path)


@pytest.mark.parametrize(("adapter", "check"), CASES, indirect=["adapter"])
def test_every_bridge(adapter: BridgeAdapter, check: str) -> None:
    check_bridge(adapter, check)
