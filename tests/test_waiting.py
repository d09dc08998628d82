"""Threads wait for a short time only, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

from xdream.waiting import SAID, SHORT, wait_shortly


def test_it_is_set_where_nothing_is_said() -> None:
    environment: dict[str, str] = {"PATH": "/bin"}
    assert wait_shortly(environment)
    assert environment == {"PATH": "/bin", **SHORT}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_says_stands(name: str) -> None:
    environment = {name: "x"}
    assert not wait_shortly(environment)
    assert environment == {name: "x"}


def test_it_is_set_before_pytorch_is_there() -> None:
    program = "import os, sys, xdream; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    without = {key: value for key, value in os.environ.items() if key not in SAID}
    done = subprocess.run(
        [sys.executable, "-c", program], env=without, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [SHORT["GOMP_SPINCOUNT"], "False"]
