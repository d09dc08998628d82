"""The other end of each bridge is found by the bridge's name, also one from another package."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from xdream.description import Part
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS
from xdream.laboratory.rigs import BRIDGES, AnswerRow, Direct
from xdream.laboratory.simulation import DRIVERS, Offered, RigSetup, driver_of, rehearse
from xdream.laboratory.simulation.drivers import bridge_options, driver_class
from xdream.scoring.recordings import Spikes, Values


def plan_of(rig: Any, **more: Any) -> Plan:
    values: dict[str, Any] = {
        "targets": ["rig::0"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 4,
        "session": {"channels": 2},
    }
    return Plan.make(**values | {"rig": rig} | more)


def test_every_bridge_has_a_driver_that_takes_what_the_bridge_has() -> None:
    assert DRIVERS.names() == BRIDGES.names()
    for name in DRIVERS.names():
        made = driver_class(Part(name=name))
        taken = list(inspect.signature(made.for_bridge).parameters)
        assert taken[0] == "setup"
        assert set(taken[1:]) <= set(BRIDGES.options(name))


def test_what_a_plan_does_not_say_is_as_the_bridge_has_it() -> None:
    known = bridge_options(Part(name="http", port=9))
    assert known["port"] == 9
    assert known["host"] == BRIDGES.options("http")["host"].default
    with pytest.raises(BadInput, match="bridge 'intan' needs the option rate_hz"):
        bridge_options(Part(name="intan"))
    with pytest.raises(BadInput, match="bridge 'zmq': port is 70000"):
        bridge_options(Part(name="zmq", port=70_000))


class Pigeons:
    """Another package's driver: it has two blocks, and is over."""

    is_recorder: ClassVar[bool] = False
    sends_spikes: ClassVar[bool] = True
    made: ClassVar[list["Pigeons"]] = []

    def __init__(self, setup: RigSetup, loft: Path, speed: float) -> None:
        self.setup, self.loft, self.speed = setup, loft, speed
        self.blocks, self.rows, self.closed = [1, 2], list[AnswerRow](), False
        self.made.append(self)

    @classmethod
    def for_bridge(cls, setup: RigSetup, loft: Path, speed: float) -> "Pigeons":
        return cls(setup, loft, speed)

    def next_block(self, timeout_s: float) -> Offered | None:
        image = torch.full((3, 8, 8), 200, dtype=torch.uint8)
        return Offered("s", self.blocks.pop(0), 1, (("i", 0, image),))

    def answer(
        self,
        offered: Offered,
        rows: Sequence[AnswerRow],
        *,
        last: bool = True,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.rows += rows

    @property
    def over(self) -> bool:
        return not self.blocks

    def disconnect(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def pigeon_bridge(loft: Path, speed: float = 20.0, stop_ms: float = 150.0) -> Direct:
    return Direct(lambda block: [])


@pytest.fixture
def pigeons(monkeypatch: pytest.MonkeyPatch) -> list[Pigeons]:
    monkeypatch.setattr(BRIDGES, "_factories", {**BRIDGES._factories, "pigeons": pigeon_bridge})
    monkeypatch.setattr(DRIVERS, "_factories", {**DRIVERS._factories, "pigeons": Pigeons})
    Pigeons.made.clear()
    return Pigeons.made


def test_a_driver_of_another_package_is_rehearsed_with_under_its_name(pigeons: list[Pigeons]) -> None:
    assert rehearse(plan_of({"name": "pigeons", "loft": "home"}), "known:linear::0-N") == 2
    (driver,) = pigeons
    assert (driver.setup.channels, driver.loft, driver.speed) == (("0", "1"), Path("home"), 20.0)
    assert driver.closed
    recorded = [row.recorded for row in driver.rows]
    assert [type(one) for one in recorded] == [Spikes, Spikes]
    assert [one.stop_ms for one in recorded if isinstance(one, Spikes)] == [150.0, 150.0]


def test_a_driver_without_spikes_gets_counts(pigeons: list[Pigeons], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pigeons, "sends_spikes", False)
    rehearse(plan_of({"name": "pigeons", "loft": "home"}), "known:linear::0-N")
    assert {type(row.recorded) for row in pigeons[0].rows} == {Values}


def test_a_rehearsal_makes_the_generator_once(
    pigeons: list[Pigeons], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    really = GENERATORS.make
    monkeypatch.setattr(GENERATORS, "make", lambda name, **o: (made.append(name), really(name, **o))[1])
    rehearse(plan_of({"name": "pigeons", "loft": "home"}), "known:linear::0-N")
    assert made == ["pixels"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"rig": "carrier"}, "unknown bridge 'carrier'"),
        (
            {"rig": "by-hand"},
            "rig for the bridge 'by-hand'; there is one for: folder, half, http, intan, lsl, open-ephys, zmq",
        ),
        ({"rig": "intan"}, "the bridge 'intan' without a display: add a table \\[display\\]"),
        ({"rig": "http", "display": "zmq"}, "no simulated rig for the bridge 'http' beside a display"),
        ({"rig": "lsl", "display": "open-ephys"}, "'open-ephys' records and cannot be the display"),
        ({"rig": "half"}, "driver 'half' has no for_bridge, is_recorder, sends_spikes"),
    ],
)
def test_a_bridge_without_a_driver_says_what_there_is(
    tables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("by-hand", "half"):
        monkeypatch.setitem(BRIDGES._factories, name, pigeon_bridge)
    monkeypatch.setitem(DRIVERS._factories, "half", lambda: None)
    with pytest.raises(BadInput, match=words), driver_of(plan_of(**tables)):
        pass


def test_a_driver_finds_the_token_as_its_bridge_does(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-the-file\n")
    plan = plan_of({"name": "http", "host": "0.0.0.0", "port": 9, "token_file": str(file)})
    with driver_of(plan) as driver:
        medium: Any = driver._medium  # type: ignore[attr-defined]
        assert medium._headers == {"Authorization": "Bearer from-the-file"}
        assert medium._host == "127.0.0.1"
