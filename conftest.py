"""The documentation's Python code runs as tests (`make check`); temporary folders lie in memory."""

import os
import shutil
from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"]
).pytest()

#: Every commit of a store waits for the disk, two thirds of the time of a small experiment. What tests are
#: about does not depend on it, so their folders lie in memory where there is room.
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
