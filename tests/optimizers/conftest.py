"""Golden trajectories, and starting many runs of one optimizer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xdream import optimizers

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def follows_golden() -> Callable[[str], None]:
    """Drive an optimizer with the scores of every golden case and compare the codes it asks for."""

    def follow(name: str) -> None:
        for case in golden_cases(name):
            optimizer = optimizers.make(name, dim=case["dim"], seed=case["seed"], **case["options"])
            for generation, codes in enumerate(case["codes"]):
                where = f"{name}, {case['case']}, generation {generation}"
                np.testing.assert_allclose(optimizer.ask(), codes, rtol=1e-5, atol=1e-5, err_msg=where)
                if "radii" in case:
                    radius = optimizer.state.radius.item()
                    assert radius == pytest.approx(case["radii"][generation], rel=1e-6), where
                if generation < len(case["scores"]):
                    optimizer.tell(case["scores"][generation])

    return follow


def golden_cases(name: str) -> list[dict[str, Any]]:
    cases = json.loads((GOLDEN / f"{name}.json").read_text())["cases"]
    assert len(cases) >= 5
    return cases
