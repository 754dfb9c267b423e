"""The player in a real browser; screenshots stay in ``test-artifacts/``, to be looked at."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Error, Page, expect, sync_playwright

from langpose_dist.inference.lift import lift_tracks
from langpose_dist.inference.options import LiftOptions
from langpose_dist.report.player.page import write_player
from tests.inference.figures import Flat, lifting_model, standing, tracks_of

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; Debian, Ubuntu: apt install chromium"),
]
SCREENSHOTS = Path(__file__).parents[3] / "test-artifacts"


@dataclass
class Seen:
    """A page, and what it said and asked for."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def picture(self, selector: str) -> bytes:
        """What a person sees of an element."""
        return self.page.locator(selector).screenshot()


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    keypoints = standing(90)
    keypoints[:, 3] = 0
    options = LiftOptions(height=1.7, focal_length=1000.0)
    (clip,) = lift_tracks(lifting_model(Flat()), tracks_of(keypoints), options)
    share = (np.sin(np.arange(90) / 9) / 2 + 0.5).astype(np.float32)
    parts = [{"start_s": 0, "caption": "</script>he waves"}, {"start_s": 1, "caption": "he stands"}]
    other = replace(clip, person="1", root=None)
    facts = {**clip.facts, "captions": {"parts": parts}}
    clip = replace(clip, labels={"wave": share, "stand": 1 - share}, facts=facts)
    write_player(tmp_path / "player.html", [clip, other], "two people")
    with sync_playwright() as manager:
        browser = manager.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        found = Seen(page)
        page.on("console", lambda message: found.messages.append(message.text))
        page.on("pageerror", lambda error: found.messages.append(str(error)))
        page.on("request", lambda request: found.requests.append(request.url))
        page.goto(f"file://{tmp_path}/player.html")
        yield found
        browser.close()


def test_the_figure_turns_and_time_moves(seen: Seen) -> None:
    page = seen.page
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "player.png", full_page=True)
    assert len(seen.requests) == 1
    assert page.locator("#caption").inner_text() == "</script>he waves"

    before = seen.picture("#pose")
    box = page.locator("#pose").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 320, box["y"] + 160, steps=4)
    page.mouse.up()
    turned = seen.picture("#pose")
    assert turned != before
    page.locator("#pose").press("ArrowLeft")
    page.mouse.wheel(0, -300)
    assert seen.picture("#pose") != turned

    flat = seen.picture("#input")
    page.locator("#time").fill("42")
    assert page.locator("#clock").inner_text() == "1.40 s, frame 42"
    assert page.locator("#caption").inner_text() == "he stands"
    assert seen.picture("#input") != flat
    page.locator("#labels").click(position={"x": 40, "y": 60})
    assert page.locator("#clock").inner_text().endswith(("frame 0", "frame 1"))

    page.locator("#path").check()
    page.locator("#speed").select_option("2")
    page.locator("#play").click()
    expect(page.locator("#clock")).to_have_text(re.compile(r"frame [1-9]\d"))
    assert page.locator("#play").inner_text() == "Pause"
    page.screenshot(path=SCREENSHOTS / "player-playing.png", full_page=True)
    page.keyboard.press("Escape")
    page.locator("#play").click()

    page.locator("#person").select_option("1")
    assert page.locator("#words").is_hidden()
    assert page.locator("#caption").is_hidden()
    assert page.locator("#path").is_hidden()
    assert page.locator("#facts li").count() > 3
    page.set_viewport_size({"width": 400, "height": 900})
    page.screenshot(path=SCREENSHOTS / "player-narrow.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert seen.messages == []


def test_the_page_runs_and_loads_nothing_else(seen: Seen) -> None:
    with pytest.raises(Error, match="Content Security Policy"):
        seen.page.add_script_tag(content="window.injected = 1")
    assert seen.page.evaluate("window.injected") is None
    failed = "fetch('file:///etc/hostname').then(() => 'loaded', () => 'refused')"
    assert seen.page.evaluate(failed) == "refused"


DRAWN = """
window.texts = []; window.dashes = [];
const {fillText, setLineDash} = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (...words) {
  window.texts.push(words[0]); fillText.apply(this, words); };
CanvasRenderingContext2D.prototype.setLineDash = function (dash) {
  window.dashes.push(String(dash)); setLineDash.call(this, dash); };
"""


def test_every_label_has_its_line_in_the_legend(tmp_path: Path) -> None:
    (clip,) = lift_tracks(lifting_model(Flat()), tracks_of(standing(30)), LiftOptions(height=1.7))
    names = ["walk and then turn around and walk back again", *(f"label {number}" for number in range(1, 20))]
    share = np.linspace(0, 1, 30, dtype=np.float32)
    clip = replace(clip, labels={name: share * (number / 20) for number, name in enumerate(names)})
    write_player(tmp_path / "player.html", [clip], "many labels")
    with sync_playwright() as manager:
        browser = manager.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.add_init_script(DRAWN)
        page.goto(f"file://{tmp_path}/player.html")
        SCREENSHOTS.mkdir(exist_ok=True)
        page.locator("#time").fill("20")
        page.screenshot(path=SCREENSHOTS / "player-labels.png", full_page=True)
        texts, dashes = page.evaluate("[window.texts, window.dashes]")
        height = page.locator("#labels").evaluate("canvas => canvas.clientHeight")
        browser.close()
    assert {f"0 % {name}" for name in names[1:]} <= set(texts)
    assert any(re.fullmatch("0 % walk and then .*\u2026", text) for text in texts)
    assert {"", "7,4", "2,3"} <= set(dashes)
    assert height >= 24 + 16 * 20 - 2
