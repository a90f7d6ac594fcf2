"""`peltier serve`: modules over HTTP, as any client sees them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND, ENVIRONMENT, Shell
from exports import write
from starlette.testclient import TestClient
from tiny import LABELS

from selector.web_server import application
from trainers.backbone import Backbone
from trainers.serving import Asked, Modules, load_exports

MOST = 2000


@pytest.fixture(scope="module")
def modules(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Modules:
    folder = tmp_path_factory.mktemp("exports")
    folders = [write(folder / name, backbone, seed=i) for i, name in enumerate(("mood", "topic"))]
    folders.append(write(folder / "claims", backbone, kind="pair-classification"))
    folders.append(write(folder / "tags", backbone, kind="token-classification"))
    return load_exports(folders)


@pytest.fixture
def client(modules: Modules) -> Iterator[TestClient]:
    with TestClient(application(modules, MOST)) as client:
        yield client


def test_predictions_are_those_of_the_module(client: TestClient, modules: Modules) -> None:
    texts = ["good film", "awful boring plot"]
    given = client.post("/predict", json={"module": "mood", "texts": texts})
    assert given.status_code == 200
    (expected,) = modules.predict([Asked("mood", texts)])
    assert given.json() == {"module": "mood", "predictions": expected}
    pair = {"module": "claims", "texts": ["good film"], "pairs": ["bad film"]}
    assert client.post("/predict", json=pair).json()["predictions"][0]["label"] in LABELS
    tagged = client.post("/predict", json={"module": "tags", "texts": [["good", "film"], []]}).json()
    assert [len(row["tags"]) for row in tagged["predictions"]] == [2, 0]
    assert client.post("/predict", json={"module": "mood", "texts": []}).json()["predictions"] == []


def test_index_and_health_say_what_is_there(client: TestClient) -> None:
    found = client.get("/").json()["modules"]
    assert list(found) == ["mood", "topic", "claims", "tags"]
    assert found["mood"]["labels"] == list(LABELS) and found["claims"]["pairs"] and found["tags"]["words"]
    assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        ({"texts": ["good film"]}, 400, 'name a "module"; modules: mood, topic, claims, tags'),
        ({"texts": ["good film"], "module": "weather"}, 404, "no module 'weather'; modules: mood"),
        ({"texts": ["good film"], "module": "claims"}, 400, "trained on text pairs"),
        ({"texts": ["a"], "pairs": ["b", "c"], "module": "claims"}, 400, "1 texts and 2 pairs"),
        ({"texts": [["good"]], "module": "mood"}, 400, "reads texts; give each as a string"),
        ({"texts": ["good film"], "module": "tags"}, 400, "give each row as a list of words"),
        ({"texts": "good film", "module": "mood"}, 422, 'give {"texts": ['),
        ({"module": "mood"}, 422, "body.texts: Field required"),
        ({"texts": ["a"], "module": "mood", "model": 1}, 422, "body.model: Extra inputs"),
        ({"texts": ["a" * MOST], "module": "mood"}, 413, "larger than 2,000 bytes"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line_of_json(
    body: dict[str, Any], status: int, hint: str, client: TestClient
) -> None:
    said = client.post("/predict", json=body)
    assert said.status_code == status
    assert said.json().keys() == {"error"} and hint in said.json()["error"]
    assert "\n" not in said.json()["error"]


def test_what_is_no_json_and_no_page_is_told_too(client: TestClient) -> None:
    assert "JSON" in client.post("/predict", content=b"{", headers={"content-type": "application/json"}).text
    assert client.get("/docs").json() == {"error": "Not Found"}
    assert client.get("/predict").json() == {"error": "Method Not Allowed"}


class Slow:
    """Modules that answer once they may, and remember what they were asked at once."""

    def __init__(self, modules: Modules) -> None:
        self.modules = modules
        self.may = threading.Event()
        self.together: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.modules, name)

    def __getitem__(self, name: str) -> Any:
        return self.modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __len__(self) -> int:
        return len(self.modules)

    def predict(self, asked: list[Asked]) -> Any:
        self.may.wait(30)
        self.together.append(len(asked))
        if any("poison" in one.texts for one in asked):
            raise RuntimeError("this text breaks the model")
        return self.modules.predict(asked)


@pytest.mark.parametrize("text", ["good film", "poison"])
def test_requests_that_wait_share_a_pass_and_one_that_fails_harms_no_other(
    text: str, modules: Modules
) -> None:
    slow = Slow(modules)
    bodies = [{"module": name, "texts": ["dull plot"]} for name in ("mood", "topic", "mood", "topic")]
    bodies.append({"module": "mood", "texts": [text]})
    app = application(slow, MOST)  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as client, ThreadPoolExecutor(6) as pool:
        first = pool.submit(client.post, "/predict", json=bodies[0])
        said = [pool.submit(client.post, "/predict", json=body) for body in bodies]
        threading.Timer(0.5, slow.may.set).start()
        found = [one.result() for one in (first, *said)]
    assert max(slow.together) >= 3 and sum(slow.together[:2]) >= 4
    assert [one.status_code for one in found[:-1]] == [200] * 5
    assert found[0].json() == found[1].json()
    assert found[-1].status_code == (500 if text == "poison" else 200)
    if text == "poison":
        assert found[-1].json() == {"error": "the module failed (RuntimeError); see what the server printed"}


def test_the_command_serves_on_loopback_until_a_signal_comes(backbone: Backbone, tmp_path: Path) -> None:
    write(tmp_path / "mood", backbone)
    command = [*COMMAND, "serve", "mood", "--port", "0"]
    body = json.dumps({"texts": ["good film"]}).encode()
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert line.startswith("serving mood on http://127.0.0.1:"), line
        address = line.split(" on ")[1].split(";")[0]
        request = urllib.request.Request(f"{address}/predict", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert len(json.load(answer)["predictions"]) == 1
        server.terminate()
        assert server.wait(30) in (0, -15)


def test_what_cannot_be_served_is_told_in_one_line(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(monkeypatch, capsys)
    said = shell("serve", str(tmp_path / "nothing"), "--port", "0")
    assert said.status == 2 and "is not an export" in said.err and said.err.count("\n") == 1
    said = shell("serve", str(tmp_path), "--host", "203.0.113.7")
    assert said.status == 2 and "cannot listen on 203.0.113.7" in said.err
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "selector.web_server")
    said = shell("serve", str(tmp_path))
    assert said.status == 2 and "pip install 'peltier[serve]'" in said.err
