"""Candidate-steps a second of Peltier's stacks beside Trainer and plain loops over peft, in one process.

    python benchmarks/training.py [--data FOLDER] [--backbone NAME] [--device cuda] [--quick] [--json]

FOLDER holds train.jsonl, as that of benchmarks/curves.py; without it the rows of the example are taken.
Contenders take turns, a repeat each; ratios are taken within a repeat, so that what the machine does
besides counts for all of them. A step is forward, backward, clipping and AdamW on one batch; one of a
stack of N counts as N candidate-steps. Trainer, and loops called shuffled, draw rows at random, as data
loaders do; Peltier, and the loop called bucketed, get batches of similar length. All read the same
tokens. Stacks have learning rates and seeds of their own; ranks and lengths are those of peft's and the
paper's defaults. With one thread on a processor, seconds are CPU time.

`--methods adapter,prefix` adds stacks of further methods with their defaults, `--processes 2,4`
stacks of one in so many processes on the device at once, by the wall clock. On a GPU the LoRA stacks
take part a second time, with their steps recorded as CUDA graphs.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from graphs import GraphedSteps
from measuring import (
    Clock,
    Contender,
    alternate,
    as_json,
    ceiling,
    frozen_flops,
    machine,
    ratio,
    speeds,
    table,
)
from numpy.typing import NDArray
from peers import Setting, loop, peft_lora, trainer
from plain_mixture import PlainUniPELT

from trainers.backbone import load
from trainers.batches import Batch, batches, training_order
from trainers.checkpoint import default_reference
from trainers.data import prepare
from trainers.method import MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.naming import method_named
from trainers.stack import Candidate
from trainers.task import read_task
from trainers.train import Training, start

EXAMPLE = Path(__file__).parent.parent / "examples" / "support_tickets.csv"
SEED = 0
TRAINER = "Trainer + peft, its defaults"
AUTOCAST = "loop + peft, bf16 autocast, shuffled"
TRAINER_MIXTURE = "Trainer + plain UniPELT"


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")  # Trainer's, such as that pinned memory needs a GPU
    setting = setting_of(options)
    seconds = alternate(contenders_of(setting, options), options.repeats, _tell)
    rows = speeds(seconds)
    facts = facts_of(setting, options)
    result: dict[str, Any] = {"facts": facts, "speeds": as_json(rows), "ratios": ratios(seconds)}
    result["ceiling"] = reached(setting, max(row.per_second for row in rows if "LoRA" in row.name))
    result["processes"] = {
        count: in_processes(options, count) for count in map(int, filter(None, options.processes.split(",")))
    }
    print(json.dumps(result) if options.json else told(result, table(rows, facts)))


def setting_of(options: argparse.Namespace) -> Setting:
    """The backbone, the rows and the clock."""
    reference = options.backbone or default_reference()
    if reference is None:
        sys.exit("no backbone: install peltier[demo] or pass --backbone")
    backbone = load(reference, dtype=options.dtype, device=options.device)
    if options.data is None:
        task = read_task(EXAMPLE, folds=1, seed=SEED)
    else:
        task = read_task(options.data / "train.jsonl", train_rows=options.rows, folds=1, seed=SEED)
    clock = Clock(backbone.device, options.threads)
    return Setting(backbone, prepare(task, backbone), options.batch, options.steps, clock)


def bucketed(setting: Setting, repeat: int) -> list[NDArray[np.int64]]:
    """Some batches of an epoch of Peltier's, one from each range of lengths, so that few stand for all."""
    lengths = setting.data.train.lengths
    order = training_order(lengths, setting.batch, repeat)
    order = sorted(
        (rows for rows in order if len(rows) == setting.batch), key=lambda rows: int(lengths[rows].max())
    )
    places = np.arange(setting.steps) + np.random.default_rng(repeat).random(setting.steps)
    return [order[int(place)] for place in places * len(order) / setting.steps]


def contenders_of(setting: Setting, options: argparse.Namespace) -> dict[str, Contender]:
    """Name -> contender; the first is what ratios are to."""
    folder, device = setting.backbone.folder, setting.device

    def in_order(repeat: int) -> list[NDArray[np.int64]]:
        return bucketed(setting, repeat)

    found: dict[str, Contender] = {
        TRAINER: trainer(setting, peft_lora(setting)),
        "loop + peft, fp32, shuffled": loop(setting, peft_lora(setting), setting.shuffled, autocast=False),
        AUTOCAST: loop(setting, peft_lora(setting), setting.shuffled, autocast=True),
        "loop + peft, bf16 autocast, bucketed, no dropout": loop(
            setting, peft_lora(setting), in_order, autocast=True, dropout=False
        ),
    }
    sizes = [int(size) for size in options.sizes.split(",")]
    for size in sizes:
        found[f"Peltier LoRA, N = {size}"] = stack(setting, LoRAConfig(), size)
    if device.type == "cuda":
        found |= {name: one for size in sizes for name, one in recordable(setting, LoRAConfig(), size)}
    if setting.backbone.model_type == "bert":
        plain = PlainUniPELT(folder, setting.classes).to(device)
        found[TRAINER_MIXTURE] = trainer(setting, plain)
    for size in sizes[: options.mixtures]:
        found[f"Peltier UniPELT (APL), N = {size}"] = stack(setting, UniPELTConfig(modules="APL"), size)
    for name in filter(None, options.methods.split(",")):
        for size in sizes:
            found[f"Peltier {name}, N = {size}"] = stack(setting, method_named(name)(), size)
    return found


def training_of(setting: Setting, config: MethodConfig, size: int) -> Training:
    """A stack of `size` candidates, each with a learning rate and a seed of its own."""
    rates = np.linspace(config.learning_rate, config.learning_rate / 2, size).tolist()
    candidates = [Candidate(replace(config, learning_rate=rate), seed) for seed, rate in enumerate(rates)]
    return start(setting.backbone, setting.data, candidates, epochs=1, seed=SEED, batch_size=setting.batch)


def stack(setting: Setting, config: MethodConfig, size: int) -> Contender:
    """Training of a stack of `size` candidates, as a study trains it."""
    training = training_of(setting, config, size)

    def run(repeat: int) -> float:
        order = bucketed(setting, repeat)
        begin = setting.clock.now()
        with training.stack.attached():
            training.train_batches(order, 0, 10 * len(order))
        return (setting.clock.now() - begin) / (len(order) * size)

    return run


def recordable(setting: Setting, config: MethodConfig, size: int) -> Iterator[tuple[str, Contender]]:
    """The same with recorded steps, with its name; nothing where they cannot be recorded."""
    training = training_of(setting, config, size)
    backbone, tokens = setting.backbone, setting.data.train
    steps = GraphedSteps(training, torch.ones(size, 1, device=setting.device))

    def made(repeat: int) -> Iterator[Batch]:
        return batches(tokens, bucketed(setting, repeat), backbone.pad_token_id, setting.device)

    def run(repeat: int) -> float:
        with training.stack.attached():
            for batch in made(repeat):
                steps.record(batch)
            begin = setting.clock.now()
            for batch in made(repeat):
                steps.step(batch)
            return (setting.clock.now() - begin) / (setting.steps * size)

    name = f"Peltier LoRA, N = {size}, CUDA graphs"
    try:
        run(0)
    except RuntimeError as error:
        _tell(f"{name} is left out: {str(error).splitlines()[0]}")
    else:
        yield name, run


# ------------------------------------------------------------------------------- several processes


def in_processes(options: argparse.Namespace, count: int) -> dict[str, float]:
    """Candidate-steps a second of LoRA alone, in `count` processes at once, by the wall clock."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count), context.Queue()
    children = [context.Process(target=_one, args=(options, ready, results)) for _ in range(count)]
    for child in children:
        child.start()
    found = [results.get(timeout=600) for _ in children]
    for child in children:
        child.join()
    steps = sum(steps for steps, _, _ in found)
    return {"per_second": steps / (max(end for _, _, end in found) - min(begin for _, begin, _ in found))}


def _one(options: argparse.Namespace, ready: Any, results: Any) -> None:
    torch.set_num_threads(options.threads)
    setting = setting_of(options)
    run = stack(setting, LoRAConfig(), 1)
    run(0)
    ready.wait()
    begin = time.time()
    for repeat in range(options.repeats):
        run(repeat)
    results.put((options.repeats * setting.steps, begin, time.time()))


# ----------------------------------------------------------------------------------- what it says


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The figures that are promised, as far as their contenders took part."""
    lora = [name for name in seconds if name.startswith("Peltier LoRA")]
    mixture = [name for name in seconds if name.startswith("Peltier UniPELT")]
    found = {
        "best LoRA stack / Trainer + peft": max(ratio(seconds, name, TRAINER) for name in lora),
        "best LoRA stack / loop with autocast": max(ratio(seconds, name, AUTOCAST) for name in lora),
    }
    if mixture:
        found["time of UniPELT / LoRA, N = 1"] = ratio(seconds, lora[0], mixture[0])
    if mixture and TRAINER_MIXTURE in seconds:
        best = max(ratio(seconds, name, TRAINER_MIXTURE) for name in mixture)
        found["best UniPELT stack / Trainer + plain UniPELT"] = best
    return found


def reached(setting: Setting, per_second: float) -> dict[str, float]:
    """FLOP/s in the frozen layers of the fastest LoRA stack, and the device's own on the same product."""
    model, clock = setting.backbone.model, setting.clock
    lengths = setting.data.train.lengths
    tokens = np.mean([lengths[rows].max() * len(rows) for rows in bucketed(setting, 0)])
    width = int(model.config.hidden_size)
    inner = int(getattr(model.config, "intermediate_size", 4 * width))
    most = ceiling(setting.device, setting.backbone.dtype, width, inner, 8 * int(tokens), clock)
    own = frozen_flops(setting.backbone) * float(tokens) * per_second
    return {"tokens_a_batch": float(tokens), "reached": own, "matmul": most, "share": own / most}


def facts_of(setting: Setting, options: argparse.Namespace) -> dict[str, Any]:
    """Where the figures come from."""
    backbone = setting.backbone
    return {
        **machine(setting.device),
        "threads": options.threads,
        "seconds": setting.clock.kind,
        "backbone": Path(backbone.reference).name,
        "dtype": backbone.precision,
        "data": EXAMPLE.name if options.data is None else options.data.name,
        "batch": options.batch,
        "steps": options.steps,
        "repeats": options.repeats,
    }


def told(result: dict[str, Any], speeds_table: str) -> str:
    """The result as lines for people, to be pasted as they are."""
    lines = [speeds_table, ""]
    lines += [f"- {name}: {value:.2f}" for name, value in result["ratios"].items()]
    most = result["ceiling"]
    lines.append(
        f"- frozen layers: {most['reached'] / 1e9:.0f} GFLOP/s of {most['matmul'] / 1e9:.0f} that the same "
        f"product reaches alone ({most['share']:.0%}), {most['tokens_a_batch']:.0f} tokens a batch"
    )
    for count, speed in result["processes"].items():
        lines.append(f"- LoRA, N = 1, in {count} processes: {speed['per_second']:.3g} a second, wall clock")
    return "\n".join(lines)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def setting_options(description: str | None) -> argparse.ArgumentParser:
    """The options that `setting_of` reads."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=2000, help="training rows that are drawn from --data")
    parser.add_argument("--backbone")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="of Peltier's backbone")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="batches of a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def _options() -> argparse.Namespace:
    parser = setting_options(__doc__)
    parser.add_argument("--sizes", default="1,4,8,16,32", help="candidates in a stack")
    parser.add_argument("--mixtures", type=int, default=3, help="so many of the sizes for UniPELT, too")
    parser.add_argument("--methods", default="", help="further ones, such as adapter,prefix")
    parser.add_argument("--processes", default="", help="such as 2,4")
    parser.add_argument("--quick", action="store_true", help="two repeats of three steps, N = 1 and 4")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.steps, options.sizes = 2, 3, "1,4"
    return options


if __name__ == "__main__":
    main()
