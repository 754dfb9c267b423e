"""The page in a real browser; screenshots stay in ``test-artifacts/``, to be looked at."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from langpose_dist.cli.main import main
from tests.report.run.made import make_run, protocol_report, robustness

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; Debian, Ubuntu: apt install chromium"),
]
SCREENSHOTS = Path(__file__).parents[3] / "test-artifacts"
LOUD = '<script>document.title = "run"</script><img id="far" src="http://127.0.0.1:9/x.png">'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    evaluation = protocol_report("base", "ours") | {"robustness": robustness("base", "ours")}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    runs = [str(make_run(folder / f"a-run-with-a-long-name-{number}")) for number in range(4)]
    words = [*runs, "--with", str(folder / "evaluation.json"), "--out", str(folder / "report.html")]
    assert main(["report", "run", *words]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as manager:
        found = manager.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1200, "light"), (1200, "dark"), (400, "light"), (400, "dark")]
)
def test_a_page_fits_the_screen_in_either_scheme(
    browser: Browser, page: Path, width: int, scheme: Any
) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    SCREENSHOTS.mkdir(exist_ok=True)
    tab.screenshot(path=SCREENSHOTS / f"report-{scheme}-{width}.png", full_page=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]


def test_print_opens_what_is_folded(browser: Browser, page: Path) -> None:
    tab = browser.new_page()
    tab.goto(page.as_uri())
    assert not tab.locator("details table").first.is_visible()
    tab.emulate_media(media="print")
    assert tab.locator("details table").first.is_visible()
    pdf = tab.pdf(path=SCREENSHOTS / "report.pdf", format="A4")
    assert pdf.startswith(b"%PDF")


def test_the_policy_stops_scripts_and_requests(browser: Browser, page: Path, tmp_path: Path) -> None:
    loud = tmp_path / "loud.html"
    loud.write_text(page.read_text(encoding="utf-8").replace("<body>", f"<body>{LOUD}"), encoding="utf-8")
    tab = browser.new_page()
    messages: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.goto(loud.as_uri())
    assert tab.title() != "run"
    assert not tab.evaluate("document.querySelector('#far').naturalWidth")
    assert {"script" in text for text in messages if "Content Security Policy" in text} == {True, False}
