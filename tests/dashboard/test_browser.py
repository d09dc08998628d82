"""The page in a real Chromium: what a person sees and does while a session goes on.

Nothing here waits for a time: the browser is asked until something is so; that it never is fails the test.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched_session import bad_answer, led_session

from xdream.dashboard import View
from xdream.experiment import loop
from xdream.experiment.plan import Plan
from xdream.store import Record, Store

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium (chromium-headless-shell) is not installed"
)
expect = sync_api.expect
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # which root cannot have
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


class Tab:
    """A page that is open, and everything that the browser complained of."""

    def __init__(self, browser: "sync_api.Browser", url: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        self.complaints: list[str] = []
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)
        expect(self.page.locator("body[data-drawn]")).to_be_attached()

    def points(self, run: int = 0) -> "sync_api.Locator":
        self.page.locator(f"#run-{run}").scroll_into_view_if_needed()  # others are not drawn
        return self.page.locator(f"#run-{run} > div")


@pytest.fixture
def tab(browser: "sync_api.Browser") -> Iterator["list[Tab]"]:
    opened: list[Tab] = []
    yield opened
    for one in opened:
        assert one.complaints == [], "the browser refused or failed at something"
        one.context.close()


def test_curves_grow_while_a_session_goes_on(tmp_path: Path, browser: object, tab: list[Tab]) -> None:
    with led_session(tmp_path / "s") as led, View(tmp_path / "s", port=0) as view:
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        expect(one.page.locator("h1")).to_have_text("watched")
        expect(one.page.locator("#state")).to_have_text("showing")
        for generations in (1, 2, 3):
            led.allow(1)
            expect(one.points()).to_have_attribute("data-points", str(generations))
            expect(one.points(1)).to_have_attribute("data-points", str(generations))
        expect(one.page.locator("#facts")).to_contain_text("3 of 20")
        expect(one.page.locator("#run-0 canvas")).to_be_visible()
        assert one.page.locator("#run-0 canvas").evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((x) => x > 0)"
        ), "something is drawn"
        expect(one.page.locator("#channel-charts canvas").first).to_be_visible()


def test_images_of_the_block_and_the_best_of_each_generation_appear(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    with led_session(tmp_path / "s") as led, View(tmp_path / "s", port=0) as view:
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        drawn = "images => images.length > 0 && images.every((i) => i.complete && i.naturalWidth === 8)"
        block = one.page.locator("#block-images img")
        expect(block).to_have_count(4)  # both runs begin with the same images
        strip = one.page.locator("#strip li")
        for generations in (1, 2):
            led.allow(1)
            expect(strip).to_have_count(generations)
        strip.last.scroll_into_view_if_needed()
        expect(one.page.locator("#strip img").last).to_have_js_property("naturalWidth", 8)
        block.last.scroll_into_view_if_needed()
        expect(block.last).to_have_js_property("naturalWidth", 8)
        assert one.page.locator("#strip img").evaluate_all(drawn)
        with Record(tmp_path / "s") as record:
            best = record.best_image(0, 1)
            assert best is not None
            assert f"/image/{best.pixels}" == strip.last.locator("img").get_attribute("src")
            expect(strip.last.locator("b")).to_have_text(f"{best.score:.4g}")


def test_an_alarm_appears_and_goes_and_can_be_acknowledged(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    with led_session(tmp_path / "s") as led, View(tmp_path / "s", port=0) as view:
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        alarms = one.page.locator("#alarms .alarm")
        expect(one.page.locator("#block-title")).to_have_text("Block 1, generation 1")
        led.send(bad_answer(1))
        expect(alarms).to_have_count(1)
        expect(alarms).to_contain_text("block001.mat was refused: image x has 7 channels; the session has 3")
        led.send(bad_answer(1))
        expect(alarms).to_contain_text("block001.mat was refused 2 times")
        led.allow(1)
        expect(alarms).to_have_count(0)
        led.send(bad_answer(77))
        expect(alarms).to_contain_text("block 77 was never planned")
        alarms.get_by_role("button", name="Acknowledge").click()
        expect(alarms).to_have_count(0)
        expect(one.page.locator("#said")).to_contain_text("the session has obeyed")


def test_pause_works_from_the_keyboard_and_go_on(tmp_path: Path, browser: object, tab: list[Tab]) -> None:
    with led_session(tmp_path / "s") as led, View(tmp_path / "s", port=0) as view:
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        expect(one.page.locator("#block-card")).to_be_visible()
        one.page.keyboard.press("p")
        expect(one.page.locator("#ask")).to_be_visible()
        one.page.keyboard.press("Escape")
        expect(one.page.locator("#ask")).to_be_hidden()
        one.page.keyboard.press("p")
        one.page.locator("#ask-reason").fill("juice <b>")
        one.page.keyboard.press("Enter")
        expect(one.page.locator("#state")).to_have_text("paused: juice <b>")
        expect(one.page.locator("#pause")).to_have_text("Go on")
        led.allow(1)
        one.page.locator("#pause").click()
        expect(one.page.locator("#state")).to_have_text("showing")
        expect(one.points()).to_have_attribute("data-points", "1")


def test_a_rejection_asks_says_its_costs_and_can_be_undone(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    with (
        led_session(tmp_path / "s", session={"undo_s": 600}) as led,
        View(tmp_path / "s", port=0) as view,
    ):
        led.allow(2)
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        expect(one.points()).to_have_attribute("data-points", "2")
        one.page.locator('#blocks button[data-block="1"]').click()
        said = one.page.locator("#ask-text")
        expect(said).to_contain_text("Rejecting block 1 makes 3 generations void (generations 1 to 3)")
        expect(said).to_contain_text("16 answered presentations")
        expect(said).to_contain_text("held for 600 s")
        one.page.locator("#ask-no").click()
        expect(one.page.locator("#held")).to_be_hidden()
        one.page.locator('#blocks button[data-block="1"]').click()
        one.page.locator("#ask-yes").click()
        expect(one.page.locator("#held-text")).to_contain_text(re.compile(r"Block 1 is rejected in \d+ s"))
        expect(one.page.locator("#state")).to_have_text("block 1 is to be rejected")
        one.page.keyboard.press("u")
        expect(one.page.locator("#held")).to_be_hidden()
        led.allow(1)
        expect(one.points()).to_have_attribute("data-points", "3")
    with Record(tmp_path / "s") as record:
        assert record.void_generations() == []


def test_a_rejection_that_is_not_taken_back_makes_generations_void(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    with led_session(tmp_path / "s", session={"undo_s": 0}) as led, View(tmp_path / "s", port=0) as view:
        led.allow(2)
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        expect(one.points()).to_have_attribute("data-points", "2")
        one.page.locator('#blocks button[data-block="2"]').click()
        one.page.locator("#ask-reason").fill("slept")
        one.page.locator("#ask-yes").click()
        expect(one.points()).to_have_attribute("data-points", "1")
        expect(one.page.locator("#facts")).to_contain_text("void generations")
        expect(one.page.locator("#events")).to_contain_text("slept")


def test_hostile_names_are_text(tmp_path: Path, browser: object, tab: list[Tab]) -> None:
    evil = '<img src=x onerror="document.title=1">'
    with (
        led_session(tmp_path / "s", targets=[f"rig:{evil}:0", f"rig:{evil}:all"]) as led,
        View(tmp_path / "s", port=0) as view,
    ):
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        led.send(bad_answer(1, source=evil))
        led.allow(1)
        expect(one.points()).to_have_attribute("data-points", "1")
        led.send(bad_answer(55, source=evil))
        expect(one.page.locator("#alarms .alarm")).to_contain_text(f"{evil} was refused")
        expect(one.page.locator("#run-0 h3")).to_contain_text(evil)
        expect(one.page.locator("#runs")).to_contain_text(evil)
        expect(one.page.locator("img[src=x]")).to_have_count(0)
        expect(one.page).to_have_title(re.compile("^watched . xdream watch$"))


def test_without_the_token_nothing_can_be_ordered(tmp_path: Path, browser: object, tab: list[Tab]) -> None:
    with led_session(tmp_path / "s"), View(tmp_path / "s", port=0) as view:
        tab.append(one := Tab(browser, view.url.partition("#")[0]))  # type: ignore[arg-type]
        expect(one.page.locator("#read-only")).to_be_visible()
        expect(one.page.locator("#pause")).to_be_disabled()


def test_a_page_whose_server_is_gone_says_that_it_is_old(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    with led_session(tmp_path / "s"):
        view = View(tmp_path / "s", port=0)
        one = Tab(browser, view.url)  # type: ignore[arg-type]
        view.close()
        expect(one.page.locator("#lost")).to_contain_text("may be old")
        expect(one.page.locator("#state")).to_have_text("not up to date")
        one.context.close()  # its complaints are of the server that is gone


def test_a_table_of_runs_sorts_and_only_charts_on_the_screen_are_drawn(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    targets = [f"rig::{channel}" for channel in range(40)]
    with (
        led_session(tmp_path / "s", targets=targets, session={"channels": 40}, presentations=8) as led,
        View(tmp_path / "s", port=0) as view,
    ):
        del led
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        expect(one.page.locator("#charts .chart")).to_have_count(40)
        first = one.page.locator("#runs tbody tr td:first-child").first
        expect(first).to_have_text("0")
        one.page.locator('#runs button[data-sort="id"]').click()
        expect(first).to_have_text("39")
        expect(one.page.locator('#runs th[aria-sort="descending"]')).to_have_text("run")


def test_a_tuning_has_small_charts_and_a_table_that_sorts(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    (tmp_path / "tuning.toml").write_text("")
    for number, presentations in enumerate((12, 20, 8)):
        plan = Plan.make(
            targets=["known:linear::0-1"],
            generator={"name": "pixels", "size_px": 8},
            optimizer={"name": "genetic", "population": 4},
            presentations=presentations,
            threads=1,
        )
        loop.run(plan, tmp_path / "evaluations" / f"{number:04d}").close()
    with View(tmp_path, port=0) as view:
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        charts = one.page.locator("#parts-charts .chart")
        expect(charts).to_have_count(3)
        for number, generations in enumerate((3, 5, 2)):
            expect(charts.nth(number).locator("canvas")).to_be_visible()
            expect(charts.nth(number).locator("div").first).to_have_attribute("data-points", str(generations))
        column = one.page.locator("#parts tbody tr td:nth-child(5)")
        expect(column).to_have_text(["3", "5", "2"])
        one.page.locator('#parts button[data-sort="generations"]').click()
        expect(column).to_have_text(["5", "3", "2"])
        one.page.locator('#parts button[data-sort="generations"]').click()
        expect(column).to_have_text(["2", "3", "5"])
        charts.nth(1).click()
        expect(one.page.locator("#facts")).to_contain_text("5 of 5")


def test_the_generation_under_way_is_said_before_it_is_complete(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    with (
        led_session(tmp_path / "s", session={"block_size": 2}) as led,
        View(tmp_path / "s", port=0) as view,
    ):
        led.allow(2)
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        expect(one.page.locator("#channel-text")).to_contain_text("4 of 8 responses of generation 1")
        expect(one.page.locator("#facts")).to_contain_text("4 of 8 responses")
        expect(one.page.locator("#blocks button")).to_have_count(3)
        led.allow(2)
        expect(one.page.locator("#channel-text")).to_contain_text("Spikes: one line per presentation")


def test_a_rejection_that_is_held_is_counted_down_anew_when_the_session_goes_on(
    tmp_path: Path, browser: object, tab: list[Tab]
) -> None:
    folder, years_ago = tmp_path / "s", "2020-01-01T00:00:00+00:00"
    with led_session(folder):
        pass
    with Store.open_existing(folder, {}) as store:
        store.write_fact("held", json.dumps({"block": 1, "reason": "x", "since": years_ago}))
    with View(folder, port=0) as view:
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        held = one.page.locator("#held-text")
        expect(held).to_contain_text("10 s after the session is resumed")
        with led_session(folder, resumed=True):
            expect(held).to_contain_text(re.compile(r"rejected in ([1-9]|10) s"))
            expect(one.page.locator("#versions")).to_contain_text("process 3")


def test_dark_and_light_and_a_tablet(tmp_path: Path, browser: object, tab: list[Tab]) -> None:
    with led_session(tmp_path / "s"), View(tmp_path / "s", port=0) as view:
        tab.append(one := Tab(browser, view.url))  # type: ignore[arg-type]
        colour = "e => getComputedStyle(e).backgroundColor"
        body = one.page.locator("body")
        light = body.evaluate(colour)
        one.page.keyboard.press("t")
        expect(one.page.locator('html[data-theme="dark"]')).to_be_attached()
        assert body.evaluate(colour) != light
        one.page.set_viewport_size({"width": 768, "height": 1024})
        wide = one.page.locator("html").evaluate("e => e.scrollWidth")
        assert wide <= 768, "nothing is wider than a tablet"
