"""The other end of the bridge that a plan names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xdream.description import Part
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.laboratory.simulation.base import Driver
from xdream.laboratory.simulation.folder import FolderDriver
from xdream.laboratory.simulation.http import HttpDriver
from xdream.laboratory.simulation.intan import IntanDriver
from xdream.laboratory.simulation.lsl import LslDriver
from xdream.laboratory.simulation.messages import MessageDriver
from xdream.laboratory.simulation.open_ephys import OpenEphysDriver
from xdream.laboratory.simulation.zmq import ZmqDriver

#: Bridges whose recordings are spike times.
SPIKES = ("open-ephys", "intan")


@contextlib.contextmanager
def driver_of(plan: Plan, answer_format: str = "mat") -> Iterator[Driver]:
    """A driver for the plan's rig, and for its display where the rig only records; closed in the end.

    answer_format: of the files of the original's folder protocol. Raises BadInput for a bridge that has none.
    """
    assert plan.rig is not None
    assert plan.session is not None
    with contextlib.closing(_display(plan.display or plan.rig, plan, answer_format)) as display:
        if plan.display is None:
            yield display
            return
        with contextlib.closing(_recorder(plan.rig, plan, display)) as recorder:
            yield recorder


def _recorder(part: Part, plan: Plan, display: MessageDriver | FolderDriver) -> Driver:
    assert plan.session is not None
    options = part.options
    channels = plan.session.channels
    if part.name == "lsl":
        codes = _codes(display) if options.get("form", "json") != "json" else None
        names = {"stream": options.get("stream"), "markers": options.get("markers")}
        given = {key: value for key, value in names.items() if value is not None}
        return LslDriver(display, len(channels), codes=codes, **given)
    units = tuple(options.get("units") or channels)
    stop_ms = float(options.get("stop_ms", 300.0))
    if part.name == "open-ephys":
        electrodes = [(name, int(unit or 0)) for name, _, unit in (u.partition(":") for u in units)]
        by_code = options.get("onset", "message") != "message"
        return OpenEphysDriver(
            display,
            electrodes,
            options.get("port", 5556),
            codes=_codes(display) if by_code else None,
            rate_hz=options.get("rate_hz") or 30_000.0,
            stop_ms=stop_ms,
            step_ms=stop_ms + 300.0,
        )
    if part.name == "intan":
        ports = (options.get("waveform_port", 5001), options.get("spike_port", 5002))
        return IntanDriver(
            display,
            units,
            _codes(display),
            ports,
            rate_hz=options["rate_hz"],
            stop_ms=stop_ms,
            step_ms=stop_ms + 300.0,
        )
    raise BadInput(f"there is no simulated rig for the bridge '{part.name}' beside a display")


def _display(part: Part, plan: Plan, answer_format: str) -> MessageDriver | FolderDriver:
    options = part.options
    if part.name == "folder":
        assert plan.session is not None
        return FolderDriver(
            options["folder"],
            options.get("protocol", "manifest"),
            answer_format,
            channels=len(plan.session.channels),
        )
    makers: dict[str, tuple[Callable[..., MessageDriver], str, int]] = {
        "http": (HttpDriver, "http", 8765),
        "zmq": (ZmqDriver, "tcp", 8766),
    }
    if part.name not in makers:
        raise BadInput(
            f"there is no simulated rig for the bridge '{part.name}' without a display: add a table [display]"
        )
    make, scheme, port = makers[part.name]
    host = options.get("host", "127.0.0.1")
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return make(f"{scheme}://{host}:{options.get('port', port)}", _token(options))


def _token(options: dict[str, Any]) -> str | None:
    if options.get("token_file"):
        return Path(options["token_file"]).read_text("utf-8").strip()
    token: str | None = options.get("token") or os.environ.get("XDREAM_RIG_TOKEN")
    return token


def _codes(display: MessageDriver | FolderDriver) -> Callable[[str, int], int]:
    return lambda image, repeat: display.codes[image, repeat]
