"""Commands for what `peltier export` wrote: predict, serve, push."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

err = Console(stderr=True, markup=False, highlight=False)
out = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)

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
