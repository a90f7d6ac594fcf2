"""Commands for modules: export one, and predict, serve or push what was written."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selector.options import Database, Json, StudyName
from selector.study import DEFAULT_DATABASE
from selector.terminal import err, out

if TYPE_CHECKING:
    from trainers.pruning import Pruned
    from trainers.simplify import Simplified

Folder = Annotated[Path, typer.Argument(help="Folder written by `peltier export`.", show_default=False)]
Device = Annotated[
    str, typer.Option(help="Where to compute: cpu, cuda, cuda:1; auto: the GPU when there is one.")
]
LocalBackbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="Where the backbone lies here, if not where it lay in training; its weights must be the same.",
        show_default=False,
    ),
]


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
    database: Database = DEFAULT_DATABASE,
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


def predict(
    folder: Folder,
    input: Annotated[
        str,
        typer.Argument(
            help="A file with the texts, such as CSV or JSONL; - reads stdin.", show_default=False
        ),
    ],
    batch_size: Annotated[int, typer.Option(help="Rows of one forward pass.", min=1)] = 64,
    device: Device = "auto",
    backbone: LocalBackbone = None,
) -> None:
    """Predict: one JSON object a row, from an export and its backbone."""
    from trainers.export import load_export
    from trainers.reading import read_texts
    from trainers.source import open_source

    exported = load_export(folder, device=device, reference=backbone)
    columns = exported.manifest["task"]["columns"]
    source = open_source(open(sys.stdin.fileno(), "rb", closefd=False) if input == "-" else Path(input))
    if source.encoding:
        err.print(f"{source.name} was read as {source.encoding}")
    texts, pairs = read_texts(source, columns["text"], columns["text_pair"], words=exported.reads_words)
    start = time.perf_counter()
    for row in exported.predict(texts, pairs, batch_size=batch_size):
        print(json.dumps(row, ensure_ascii=False))
    seconds = time.perf_counter() - start
    where = exported.stack.backbone.device
    err.print(
        f"{len(texts):,} rows in {seconds:.1f} s, {len(texts) / seconds:,.1f} rows/s "
        f"(on {where}, batches of {batch_size})",
        soft_wrap=True,
    )


def serve(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Folders written by `peltier export`, of one backbone; each is served under its name.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; there are no passwords.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free one.", min=0, max=65535)] = 8080,
    device: Device = "auto",
    backbone: LocalBackbone = None,
    max_bytes: Annotated[int, typer.Option(help="Largest request.", min=1)] = 1 << 20,
) -> None:
    """Serve modules over HTTP: POST /predict {"texts": [...]}, GET /, GET /health."""
    from selector.listening import listen, web_server
    from trainers.serving import load_exports

    web = web_server()  # what is not installed is told before a backbone is loaded
    shown = f"[{host}]" if ":" in host else host
    with listen(host, port) as listener:
        modules = load_exports(folders, device=device, reference=backbone)
        err.print(
            f"serving {', '.join(modules)} on http://{shown}:{listener.getsockname()[1]}; Ctrl-C ends it",
            soft_wrap=True,
        )
        web.run(modules, listener, max_bytes)


def push(
    folder: Folder,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Model repository of the hub.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be uploaded; needs no network.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who may see it; a public one must be named so.")
    ] = True,
) -> None:
    """Upload an export, and nothing else that lies in its folder, to the Hugging Face hub."""
    from selector.publishing import planned, upload

    plan = planned(folder, repository)
    for note in plan.notes:
        err.print(note, soft_wrap=True)
    for name, size in plan.files.items():
        out.print(f"{size:>13,} bytes  {name}", soft_wrap=True)
    kind = "private" if private else "public"
    if dry_run:
        out.print(
            f"these {len(plan.files)} files would go to the {kind} {repository}; its card is valid",
            soft_wrap=True,
        )
        return
    out.print(f"uploaded to {upload(plan, private=private)} ({kind})", soft_wrap=True)


def _tell_pruned(pruned: Pruned) -> None:
    out.print(f"left out, because their gates stay shut: {', '.join(pruned.dropped) or 'nothing'}")
    for metric, before in pruned.before.items():
        out.print(f"{pruned.split} {metric}: {before:.4f} with all modules, {pruned.after[metric]:.4f} so")


def _tell_simplified(simplified: Simplified) -> None:
    means = [gate.mean for gate in simplified.gates]
    out.print(f"{len(means)} gates replaced by their training means, {min(means):.2f} to {max(means):.2f}")
    for metric, before in simplified.before.items():
        out.print(f"{simplified.split} {metric}: {before:.4f} with gates, {simplified.after[metric]:.4f} so")
