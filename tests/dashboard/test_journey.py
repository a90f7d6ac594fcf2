"""The whole way in a real Chromium: a file goes in, an export comes out and predicts."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path
from string import ascii_lowercase

import pytest
from browser import PATIENCE, free_port, running, settled, wait_for_server
from playwright.sync_api import Browser, Page, TimeoutError, expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LABELS = ("small order", "large order")


def write_orders(path: Path, rows: int = 90) -> Path:
    """Short and long lists of codes that occur once: only their length tells, which TF-IDF cannot see."""
    chance = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(rows):
            codes = ["".join(chance.choices(ascii_lowercase, k=6)) for _ in range((2, 12)[i % 2])]
            writer.writerow([" ".join(codes), LABELS[i % 2]])
    return path


def choose(page: Page, label: str, option: str) -> None:
    box = page.get_by_role("combobox", name=label)
    for _ in range(10):
        box.click()
        try:
            page.get_by_role("option", name=option).click(timeout=3_000)
            break
        except TimeoutError:
            continue  # the list closes when the page moves or is drawn again
    expect(box).to_have_value(option)


def submit(page: Page, data: Path, backbone: Path) -> None:
    page.locator('input[type="file"]').first.set_input_files(data)
    expect(page.get_by_role("button", name="Start search")).to_be_enabled(timeout=PATIENCE)
    page.get_by_text("More options").click()
    choose(page, "Runner", "local")
    for label, value in {
        "Backbone": str(backbone),
        "Configurations to try": "3",
        "Epochs of a whole training": "1",
        "Seeds for each finalist": "1",
        "Name of the study": "orders",
    }.items():
        page.get_by_label(label, exact=True).fill(value)
        page.keyboard.press("Enter")
    page.get_by_role("button", name="Start search").click(timeout=PATIENCE)
    expect(page.get_by_text("Study orders is queued")).to_be_visible(timeout=PATIENCE)


def open_page(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible(timeout=PATIENCE)


def test_a_file_becomes_an_export_that_predicts(browser: Browser, tiny_folder: Path, tmp_path: Path) -> None:
    data = write_orders(tmp_path / "orders.csv")
    address, log = f"http://127.0.0.1:{free_port()}", tmp_path / "dashboard.log"
    page = browser.new_context(viewport={"width": 1280, "height": 1700}).new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    with ExitStack() as stack:
        stack.enter_context(running(["dashboard", "--port", address.split(":")[-1]], tmp_path, log))
        wait_for_server(address, log)
        page.goto(address)
        expect(page.get_by_role("heading", name="Submit a search")).to_be_visible(timeout=PATIENCE)
        submit(page, data, tiny_folder)
        expect(page.get_by_text("peltier work")).to_be_visible(timeout=PATIENCE)  # there is no worker yet
        settled(page, tmp_path / "1-submit.png")
        page.get_by_role("link", name="Watch its progress").click()
        expect(page.get_by_text("Waiting in the queue")).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("Paused; everything is kept")).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("Waiting in the queue")).to_be_visible(timeout=PATIENCE)

        stack.enter_context(running(["work"], tmp_path, tmp_path / "work.log"))
        expect(page.get_by_text("Complete after")).to_be_visible(timeout=200_000)  # it refreshes itself
        assert "study=orders" in page.url
        settled(page, tmp_path / "2-progress.png")

        open_page(page, "Leaderboard")
        expect(page.get_by_test_id("stPlotlyChart")).to_be_visible(timeout=PATIENCE)
        table = page.get_by_test_id("stDataFrame").first
        table.click(
            position={"x": 17, "y": 53 + 3 * 35}
        )  # the fourth row: under three baselines the best trial
        expect(page.get_by_role("heading", name="Trial ")).to_be_visible(timeout=PATIENCE)
        settled(page, tmp_path / "3-leaderboard.png")

        open_page(page, "Recommendation")
        expect(page.get_by_role("heading", name="Use ")).to_be_visible(timeout=PATIENCE)
        settled(page, tmp_path / "4-recommendation.png")
        with page.expect_download(timeout=PATIENCE) as download:
            page.get_by_role("button", name="Download export").click()
        download.value.save_as(tmp_path / "export.zip")
    assert {url.split("/")[2] for url in requests if url.startswith("http")} == {address.split("/")[2]}

    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-m", "selector", "predict", str(tmp_path / "elsewhere/orders-export"), str(data)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 90 and {row["label"] for row in rows} == set(LABELS)
    assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-3 for row in rows)
