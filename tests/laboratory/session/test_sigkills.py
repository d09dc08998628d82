"""The served program is killed for real, over and over, while a rig goes on asking over HTTP."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from session_rig import Rig, served, session_plan

from xdream.laboratory.rigs import AnswerRow
from xdream.laboratory.session import resume
from xdream.laboratory.simulation.http import HttpDriver
from xdream.scoring.recordings import Values

#: Real kills.
KILLS = 36
#: Seconds in which anything that is waited for has come.
PATIENCE_S = 60.0

SERVE = """
from pathlib import Path
from xdream.experiment.plan import Plan
from xdream.laboratory.session import resume, serve
from xdream.store import FILE_NAME
if (Path(folder) / FILE_NAME).exists():
    resume(folder).close()
else:
    serve(Plan.from_toml(plan), folder, identity="5e5510").close()
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Restless(HttpDriver):
    """A rig that has the program killed before, during or after some of its requests."""

    def __init__(self, url: str, kill: Callable[[], None], rng: random.Random) -> None:
        super().__init__(url, timeout_s=PATIENCE_S, gone_s=PATIENCE_S, answer_s=PATIENCE_S)
        self._kill, self._rng = kill, rng
        self.kills = 0

    def _ask(self, *message: Any) -> Any:
        if self.kills >= KILLS or self._rng.random() < 0.5:
            return super()._ask(*message)
        self.kills += 1
        when = self._rng.choice(["before", "during", "during", "after"])
        if when == "before":
            self._kill()
        killer = threading.Thread(target=self._kill)
        if when == "during":
            killer.start()
        found = super()._ask(*message)
        if when == "after":
            self._kill()
        if when == "during":
            killer.join()
        return found


@pytest.mark.parametrize("seed", [0])
def test_a_program_that_is_killed_over_and_over_makes_the_session_that_was_not(
    tmp_path: Path, child: Any, seed: int
) -> None:
    port = free_port()
    changes: dict[str, Any] = {
        "presentations": 72,
        "repeats": 2,
        "session": {"block_size": 7},
        "rig": {"name": "http", "port": port},
    }
    plan = session_plan(**changes)
    expected = served(plan, tmp_path / "whole", Rig())
    folder, alive = tmp_path / "killed", []

    def start() -> None:
        alive.append(child.start(SERVE, folder=str(folder), plan=plan.to_toml()))

    def kill() -> None:
        alive[-1].kill()
        alive[-1].join(PATIENCE_S)
        start()

    start()
    rng, rig = random.Random(seed), Rig()
    driver = Restless(f"http://127.0.0.1:{port}", kill, rng)
    with contextlib.closing(driver):
        while not driver.over:
            offered = driver.next_block(PATIENCE_S)
            if offered is None:
                assert driver.over, "no block came"
                break
            rows = [
                AnswerRow(image, repeat, Values(rig.response(image, repeat, pixels)))
                for image, repeat, pixels in offered.presentations
            ]
            cut = rng.randrange(len(rows) + 1)
            driver.answer(offered, rows[:cut], last=False)
            driver.answer(offered, rows[cut:], last=False)
    assert driver.kills == KILLS
    alive[-1].join(PATIENCE_S)
    with contextlib.closing(resume(folder)) as record:  # only read: it is finished
        assert record.finished
        assert record.dump() == expected.dump()
    expected.close()
