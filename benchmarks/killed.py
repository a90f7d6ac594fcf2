"""Kill a search at random moments, start it again each time, and compare with one that was left alone.

    python benchmarks/killed.py --data FOLDER/trec6 --trials 24 --kills 5

FOLDER/trec6 holds train, validation and test files as jsonl. Both searches run in processes of their own,
without Ray, in fp32, with equal seeds; SIGKILL comes once random shares of all results are written down. All
trials, scores, hashes of modules and predictions, and the recommendation must be the same. Exit status 1 if
they are not.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from storage.database import open_database

CLOCKS = frozenset({"seconds", "device_seconds", "latency", "latency_ms", "test_opened", "exports", "study"})
"""Of a study's JSON: what a clock or a folder tells."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--train-rows", type=int, default=200)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        whole = json.loads(finished(start(Path(name) / "whole", options)))
        seconds = time.monotonic() - began
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        moments = sorted(
            random.Random(options.seed).sample(range(1, results(Path(name) / "whole")), options.kills)
        )
        for moment in moments:
            search = start(Path(name) / "killed", options)
            while search.poll() is None and results(Path(name) / "killed") < moment:
                time.sleep(0.05)
            search.kill()
            search.wait()
            print(f"killed with {results(Path(name) / 'killed')} results", flush=True)
        killed = json.loads(finished(start(Path(name) / "killed", options)))
    apart = sorted(differences(timeless(whole), timeless(killed)))
    print(f"{len(whole['trials'])} trials; different: {', '.join(apart) or 'nothing'}")
    sys.exit(bool(apart))


def start(folder: Path, options: argparse.Namespace) -> subprocess.Popen[str]:
    """The search in a folder; one that was begun there goes on."""
    folder.mkdir(exist_ok=True)
    train, validation, test = (
        options.data.absolute() / f"{n}.jsonl" for n in ("train", "validation", "test")
    )
    counts = {
        "--trials": options.trials,
        "--epochs": options.epochs,
        "--train-rows": options.train_rows,
    }
    command = [sys.executable, "-m", "selector", "search", str(train)]
    command += ["--validation", str(validation), "--test", str(test)]
    command += [part for option, value in counts.items() for part in (option, str(value))]
    command += "--finalists 2 --dtype fp32 --runner local --no-full-finetuning --no-memory --json".split()
    command += ["--database", f"sqlite:///{folder / 'peltier.db'}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder)


def results(folder: Path) -> int:
    """Reports that are written down."""
    if not (folder / "peltier.db").exists():
        return 0
    database = open_database(f"sqlite:///{folder / 'peltier.db'}")
    return sum(len(trial.reports) for one in database.studies() for trial in database.study(one.id).trials)


def finished(search: subprocess.Popen[str]) -> str:
    """What it printed."""
    said, _ = search.communicate()
    if search.returncode:
        sys.exit(f"the search ended with status {search.returncode}")
    return said


def timeless(value: Any) -> Any:
    """Without what a clock tells; the reason of a recommendation states the latency, too."""
    if isinstance(value, str):
        return re.sub(r"takes [0-9.]+ ms on \w+, [0-9.]+ times", "takes some time,", value)
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in CLOCKS}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def differences(one: Any, other: Any, where: str = "") -> set[str]:
    """Where two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return set().union(
            *(differences(one.get(key), other.get(key), f"{where}.{key}".lstrip(".")) for key in keys)
        )
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return set().union(*(differences(a, b, f"{where}[{i}]") for i, (a, b) in pairs))
    return set() if one == other else {where}


if __name__ == "__main__":
    main()
