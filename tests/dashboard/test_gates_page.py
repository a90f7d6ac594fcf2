"""The gates of a stored study, seen in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import PATIENCE, free_port, running, settled, wait_for_server
from playwright.sync_api import Browser, expect

from storage.records import Study, Trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_gate_is_written_in_its_cell_and_tells_its_deviation(
    browser: Browser, stored: Callable[..., Study], study: Study, mixture: Trial, tmp_path: Path
) -> None:
    name = stored(trials=(*study.trials, mixture)).name
    address, log = f"http://127.0.0.1:{free_port()}", tmp_path / "dashboard.log"
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    with running(["dashboard", "--port", address.split(":")[-1]], tmp_path, log):
        wait_for_server(address, log)
        page.goto(f"{address}/gates?study={name}")
        expect(page.get_by_role("heading", name="Gates", exact=True)).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_role("combobox", name="Trial")).to_have_value(
            "UniPELT, trial 8: validation accuracy 0.600, complete", timeout=PATIENCE
        )
        expect(page.get_by_test_id("stPlotlyChart")).to_have_count(2, timeout=PATIENCE)
        settled(page, tmp_path / "gates.png")

        cells = page.locator(".heatmap-label text")
        expect(cells).to_have_count(3 * 3 * 4)  # reports, layers, places
        assert {cell.text_content() for cell in cells.all()[-12:]} == {"0.50", "0.70", "0.90"}
        for title in ("after 1 epoch", "after 4 epochs", "adapter", "0 closed", "1 open"):
            expect(page.get_by_text(title, exact=True).first).to_be_in_viewport()
        cells.last.hover(force=True)  # plotly draws a sheet over the text that takes the pointer
        pointed = page.locator(".hoverlayer .hovertext")
        expect(pointed).to_contain_text("prefix, layer 2")
        expect(pointed).to_contain_text("mean 0.900, standard deviation 0.040")
