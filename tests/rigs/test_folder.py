"""The folder: images out, answers in, and all that a folder shared with another computer can hold."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bridge_checks import CHECKS, LONG_S, SESSION, Desk, Medium, a_block, left_of, said, value_rows

from xdream.errors import BadInput, RigError
from xdream.rigs import BRIDGES, Folder
from xdream.rigs.pictures import decoded, encoded
from xdream.simulation.folder import FORMATS, FolderDriver, as_file

def medium(folder: Path, protocol: str, answer_format: str = "mat") -> Medium:
    return Medium(
        lambda: Folder(folder, protocol, poll_s=0.01, stable_s=0.05),
        lambda: FolderDriver(folder, protocol, answer_format, channels=3, poll_s=0.01),
        kinds=("baseline", "spikes", "traces") if protocol == "manifest" else (),
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_manifest_protocol_does_what_every_bridge_must(check: Any, tmp_path: Path) -> None:
    check(medium(tmp_path, "manifest"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("answer_format", FORMATS)
def test_the_original_protocol_does_what_every_bridge_must(
    check: Any, answer_format: str, tmp_path: Path
) -> None:
    check(medium(tmp_path, "original", answer_format))
