"""Pictures of the live page for the documentation: an experiment, a session in trouble, a study.

python benches/watch_screens.py [--out docs/images]   (some minutes; needs Debian's chromium-headless-shell)
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from xdream.dashboard import View
from xdream.store import Record, since

XDREAM = [sys.executable, "-m", "xdream.cli"]
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PLAN = """
name = "monkey-A-day-3"
presentations = 1200
references = "scikit-image"
references_per_generation = 10
image_size_px = 128
seed = 7
threads = 1
targets = ["rig::3", "rig::17"]
[optimizer]
name = "genetic"
population = 30
[rig]
name = "folder"
folder = "shared"
protocol = "original"
stable_s = 0.1
[session]
channels = 32
silence_s = 6
[responses]
windows_ms = [[70, 170]]
"""


@contextlib.contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*XDREAM, *arguments], cwd=cwd, **QUIET)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def picture(
    folder: Path, path: Path, ready: str, *, dark: bool = False, width: int = 1280, at: str = ""
) -> None:
    """The page, as soon as what `ready` selects is there."""
    with View(folder, port=0) as view, sync_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        page: Page = browser.new_page(
            viewport={"width": width, "height": 500}, color_scheme="dark" if dark else "light"
        )
        page.on("console", lambda said: print("console:", said.text))
        page.goto(view.url.replace("/#", f"/?at={at}#"))
        page.wait_for_selector(ready, timeout=60_000)
        page.wait_for_timeout(1500)  # until images have come
        page.screenshot(path=path, full_page=True)
        browser.close()
    print(path)


def experiment(place: Path, out: Path) -> None:
    command = "evolve --target efficientnet-lite0:_fc:954,281,1,574 --references scikit-image --out e"
    more = "--presentations 1500 --noise-spikes 20 --quiet --no-figures"
    with running(*command.split(), *more.split(), cwd=place):
        wait_for(lambda: (place / "e" / "experiment.sqlite").exists())
        picture(place / "e", out / "watch-experiment.png", '#run-0 > div[data-points="12"]')


def trouble(place: Path, out: Path) -> None:
    (place / "plan.toml").write_text(PLAN)
    (place / "shared").mkdir()
    with running("serve", "plan.toml", "--out", "s", "--quiet", "--no-figures", cwd=place):
        wait_for(lambda: (place / "shared" / "status.json").exists())
        rig = "simulate-rig plan.toml --target known:linear::0-N --set rate_hz=100 --answers csv"
        with running(*rig.split(), "--fault", "nan=0.02", cwd=place):
            wait_for(lambda: any((place / "shared").glob("block012*.png")))
        with Record(place / "s") as record:  # what the rig has not answered when it is gone
            wait_for(lambda: (since.open_block(record) or {"answered": 1})["answered"] == 0)
            number = since.open_block(record)["block"]
        wait_for(lambda: any((place / "shared").glob(f"block{number:03d}*.png")))
        (place / "shared" / f"block{number:03d}.csv").write_text("stimulusID;a;b\nx;1,5;2\n")
        (place / "shared" / f"block{number}.dat").write_text("nothing")
        picture(place / "s", out / "watch-trouble.png", "#alarms .alarm:nth-child(2)")
        picture(
            place / "s", out / "watch-trouble-dark.png", "#alarms .alarm:nth-child(2)", dark=True, width=800
        )


def study(place: Path, out: Path) -> None:
    command = "study targets --units 2 --seeds 1 --presentations 200 --out t --quiet"
    with running(*command.split(), cwd=place):
        wait_for(lambda: len(list((place / "t").glob("shards/*/result.csv"))) >= 2)
        picture(place / "t", out / "watch-study.png", "#parts tr:nth-child(3)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", choices=("experiment", "trouble", "study"))
    options = parser.parse_args()
    for name, work in {"experiment": experiment, "trouble": trouble, "study": study}.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as place:
                work(Path(place), options.out.resolve())


if __name__ == "__main__":
    main()
