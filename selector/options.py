"""The options that commands of `peltier` share with each other and with the form of the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Train = Annotated[
    Path,
    typer.Argument(
        help="Labelled rows: CSV, TSV, JSONL, JSON, Parquet or Arrow (also .gz, .zst), a folder of "
        "save_to_disk, or a hub id OWNER/NAME[:CONFIG].",
        show_default=False,
    ),
]
Validation = Annotated[Path | None, typer.Option(help="Validation rows; made from TRAIN if not given.")]
Test = Annotated[Path | None, typer.Option(help="Test rows; made from TRAIN if not given.")]
Text = Annotated[str | None, typer.Option(help="Column with the text; found by its name if not given.")]
TextPair = Annotated[str | None, typer.Option(help="Column with the second text of a pair.")]
Label = Annotated[
    str | None,
    typer.Option(
        help="Column with the label; found by its name if not given. Several with commas where each label "
        "has a column of 0 and 1: toxic,obscene,threat."
    ),
]
TaskKind = Annotated[
    str | None,
    typer.Option(
        help="classification, pair-classification, multi-label, regression, pair-regression or "
        "token-classification; found from the columns if not given."
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="What is chosen by. Classes: accuracy, macro_f1, micro_f1, weighted_f1, matthews, auroc or "
        "f1:LABEL; several labels: micro_f1, macro_f1, weighted_f1, accuracy, auroc or f1:LABEL; numbers: "
        "pearson, spearman or r2; words: span_f1 or token_accuracy."
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(help="Methods to search, such as lora,adapter,peft:OFT; default: the usual ones."),
]
Fix = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        help="Search one value of a field only: lora.rank=8, or rank=8 for every method that has it; "
        "may be repeated.",
        metavar="FIELD=VALUE",
        show_default=False,
    ),
]
Range = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        help="Search a part of a field only: lora.rank=4:16, or its values, lora.dropout=0.0,0.1; "
        "may be repeated.",
        metavar="FIELD=LOW:HIGH",
        show_default=False,
    ),
]
SpaceOption = Annotated[
    Path | None,
    typer.Option(
        "--space",
        help="TOML file with what is searched, as `peltier space --toml` writes it; --methods, --fix and "
        "--range count before it.",
    ),
]
Backbone = Annotated[str | None, typer.Option(help="Folder or hub id; default: the packaged MiniLM.")]
TrainRows = Annotated[int | None, typer.Option(help="Train on this many rows drawn from TRAIN.", min=1)]
Folds = Annotated[
    int | None,
    typer.Option(
        help="Folds of the training rows, which score each other; 1: none; default: 5 where fewer than 400 "
        "rows are left for training and validation and no --validation is given.",
        min=1,
    ),
]
Head = Annotated[
    Literal["mean", "native"],
    typer.Option(
        help="mean: reads the mean of the tokens; native: as the family's own classifier, for plain exports."
    ),
]
Truncation = Annotated[
    Literal["head", "head+tail"],
    typer.Option(
        help="What is kept of a text that is too long: its first tokens, or its first and its last ones."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster to run on: HOST:PORT, or auto for the one that this machine belongs to; default: "
        "a Ray of its own on this machine. See docs/running.md.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="Brackets side by side; default: as many as there is room for.", min=1)
]
CpusPerWorker = Annotated[
    int | None, typer.Option("--cpus-per-worker", help="Processor cores for each; default: 1.", min=1)
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        help="GPU for each: 1, a part such as 0.5, or 0 for none; default: 1 where there are GPUs.",
        min=0.0,
        max=1.0,
    ),
]
Objective = Annotated[
    str,
    typer.Option(
        help="What is searched for: metric, or metric with one or two of parameters, bytes, latency, "
        "seconds, memory."
    ),
]
MaxParameters = Annotated[
    str | None,
    typer.Option(help="Most trained parameters of a module: 120000, or 0.5% of the backbone's."),
]
MaxBytes = Annotated[str | None, typer.Option(help="Most stored bytes of a module, such as 2MB.")]
MaxLatency = Annotated[
    str | None,
    typer.Option(help="Longest time for one text: 20ms, or 1.2x the plain backbone's."),
]
DeviceBudget = Annotated[
    str | None, typer.Option(help="Limit on device time, summed over devices, such as 30m.")
]
Profile = Annotated[
    Path | None,
    typer.Option(
        help="Say where the time went, and write a trace of some training steps to this file, for "
        "ui.perfetto.dev; needs --runner local.",
    ),
]
Sampler = Annotated[
    Literal["tpe", "random", "gp", "nsga2"],
    typer.Option(help="What proposes configurations; see docs/search.md."),
]
Trials = Annotated[int, typer.Option(help="Configurations to try.", min=1)]
Epochs = Annotated[int, typer.Option(help="Epochs of a whole training.", min=1)]
Patience = Annotated[
    int | None,
    typer.Option(help="Stop a training after this many epochs without a better score.", min=1),
]
Budget = Annotated[str | None, typer.Option(help="Wall-clock limit, such as 20m or 1h30m.")]
Finalists = Annotated[
    int,
    typer.Option(help="Configurations that are repeated with fresh seeds, spread over methods.", min=1),
]
Seeds = Annotated[int, typer.Option(help="Fresh seeds with which finalists are repeated.", min=1)]
FullFinetuning = Annotated[
    bool,
    typer.Option("--full-finetuning/--no-full-finetuning", help="Train full fine-tuning as a baseline, too."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "8bit", "4bit"],
    typer.Option(help="How the frozen weights are held; 8bit and 4bit need peltier[quantised]."),
]
Seed = Annotated[int, typer.Option(help="Seed of splits, initialisation and search.", min=0)]
RunnerKind = Annotated[Literal["ray", "local"], typer.Option(help="ray: all devices; local: this process.")]
StudyName = Annotated[str, typer.Argument(help="Name or number of a study.", show_default=False)]
Database = Annotated[str, typer.Option(help="Database URL.", envvar="PELTIER_DATABASE_URL")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to stdout; progress goes to stderr.")
]
