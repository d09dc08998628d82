"""What tests of sessions share."""

from typing import Any

import pytest

from xdream.laboratory.session import serving


@pytest.fixture
def time_now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waiting moves the clock and takes no time."""
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    class Quick(serving.Server):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts, clock=lambda: now[0], wait=wait)

    monkeypatch.setattr(serving, "Server", Quick)
    return now
