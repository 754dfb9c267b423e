"""What a person sees: MLflow's pages in a real browser, after a training and a small sweep.

The screenshots stay in ``test-artifacts/``; look at them.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Page, sync_playwright

from langpose_dist.cli.main import main
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking.record import read_state
from tests.tracking.servers import TrackingServer
from tests.train.jobs import finish, make_shards, prepare

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; Debian, Ubuntu: apt install chromium"),
]
SCREENSHOTS = Path(__file__).parents[2] / "test-artifacts"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@dataclass
class Seen:
    """A server with runs, and a page that is logged in there."""

    uri: str
    page: Page
    run_id: str
    experiment_id: str
    parent_id: str

    def open(self, place: str) -> None:
        """Go to a page of the server."""
        self.page.goto(f"{self.uri}/#/{place}?workspace=default")

    def keep(self, name: str) -> None:
        """A screenshot."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("browser")
    shards = make_shards(folder / "shards")
    with TrackingServer(folder / "server") as server, pytest.MonkeyPatch.context() as patch:
        for key, value in server.login().items():
            patch.setenv(key, value)
        tracking = {
            "enabled": True,
            "uri": server.uri,
            "experiment": "langpose",
            "register_as": "langpose-tiny",
        }
        evaluation = {"num_pictures": 2}
        data = {"licence": "CC BY-NC 4.0"}
        training = prepare(
            folder / "training",
            shards,
            tracking={**tracking, "run_name": "training"},
            evaluation=evaluation,
            data=data,
        )
        finish(training, "none", 1, words=())
        client = MlflowClient(server.uri)
        run_id = read_state(RunFolder(training / "run")).run_id
        assert run_id is not None
        experiment_id = client.get_run(run_id).info.experiment_id
        parent = client.create_run(experiment_id, run_name="sweep").info.run_id
        for temperature in (0.05, 0.2):
            trial = {
                **tracking,
                "register_as": None,
                "run_name": f"trial {temperature}",
                "parent_run_id": parent,
            }
            config = prepare(
                folder / f"trial-{temperature}", shards, tracking=trial, loss={"temperature": temperature}
            )
            finish(config, "none", 1, words=())
        client.set_terminated(parent)
        assert main(["registry", "promote", "langpose-tiny@candidate"]) == 0
        with sync_playwright() as manager:
            browser = manager.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            context = browser.new_context(
                http_credentials={"username": "admin", "password": server.admin_password},
                viewport={"width": 1500, "height": 1000},
            )
            context.set_default_timeout(30_000)
            yield Seen(server.uri, context.new_page(), run_id, experiment_id, parent)
            browser.close()


def test_the_table_shows_runs_and_the_sweep_with_its_trials(seen: Seen) -> None:
    seen.open(f"experiments/{seen.experiment_id}/runs")
    seen.page.get_by_text("training", exact=True).first.wait_for()
    sweep = seen.page.locator(".ag-row", has_text="sweep")
    sweep.first.wait_for()
    assert not seen.page.get_by_text("trial 0.05").count()  # trials lie below their sweep
    sweep.locator("button").locator("visible=true").first.click()
    seen.page.get_by_text("trial 0.05", exact=True).first.wait_for()
    seen.page.get_by_text("trial 0.2", exact=True).first.wait_for()
    seen.keep("runs")


def test_a_run_shows_what_defines_it(seen: Seen) -> None:
    seen.open(f"experiments/{seen.experiment_id}/runs/{seen.run_id}")
    seen.page.get_by_text("loss.temperature").first.wait_for()
    seen.page.get_by_text("data_fingerprint").first.wait_for()
    seen.page.get_by_text("Finished").first.wait_for()
    seen.page.get_by_text("langpose-tiny").first.wait_for()
    seen.keep("run")


def test_a_run_shows_its_curves(seen: Seen) -> None:
    seen.open(f"experiments/{seen.experiment_id}/runs/{seen.run_id}/model-metrics")
    seen.page.get_by_text(re.compile("loss_con")).first.wait_for()
    seen.page.locator("svg.main-svg").first.wait_for()
    seen.keep("curves")
    seen.open(f"experiments/{seen.experiment_id}/runs/{seen.run_id}/system-metrics")
    seen.page.get_by_text(re.compile("cpu_percent")).first.wait_for()
    seen.page.locator("svg.main-svg").first.wait_for()
    seen.keep("system")


@pytest.mark.parametrize("name", ["curves.png", "pictures"])
def test_a_run_shows_its_pictures(seen: Seen, name: str) -> None:
    client = MlflowClient(seen.uri)
    path = name if name.endswith("png") else client.list_artifacts(seen.run_id, name)[0].path
    seen.open(f"experiments/{seen.experiment_id}/runs/{seen.run_id}/artifacts/{path}")
    picture = seen.page.locator("img[src^='blob:'], img[src^='data:image'], canvas").first
    picture.wait_for()
    seen.page.wait_for_timeout(1000)
    assert picture.evaluate("shown => shown.naturalWidth || shown.width") > 500
    seen.keep(f"artifact-{name.removesuffix('.png')}")


def test_the_registry_shows_the_model_its_aliases_and_numbers(seen: Seen) -> None:
    seen.open("models")
    seen.page.get_by_text("langpose-tiny").first.wait_for()
    seen.keep("models")
    seen.open("models/langpose-tiny")
    seen.page.get_by_text("champion").first.wait_for()
    seen.keep("model")
    seen.open("models/langpose-tiny/versions/1")
    seen.page.get_by_text("CC BY-NC 4.0").first.wait_for()
    seen.keep("version")
