"""The command `peltier`.

Commands import what they need when they run, so that `peltier --help` and
`peltier show` do not wait for torch, Ray and Streamlit.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Annotated

from selector import environment

environment.prepare()

import typer  # noqa: E402

from selector.export_commands import export, predict, push, serve  # noqa: E402
from selector.options import Database, Json  # noqa: E402
from selector.search_commands import check, demo, search, space  # noqa: E402
from selector.study import DEFAULT_DATABASE  # noqa: E402
from selector.study_commands import (  # noqa: E402
    cancel,
    pause,
    reproduce,
    resume,
    run,
    show,
    studies,
    work,
)
from selector.terminal import err, out  # noqa: E402

app = typer.Typer(
    help="Find the right parameter-efficient fine-tuning method, with its numbers, for your data and budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is read as it is written: peltier[quantised] is no markup
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("search", help="Search the methods on a dataset, recommend one, and export it.")(search)
app.command("submit", help="Queue a search for `peltier work`.")(search)
app.command()(check)
app.command()(space)
app.command()(demo)
app.command()(work)
app.command(hidden=True)(run)
app.command()(cancel)
app.command()(pause)
app.command()(resume)
app.command()(studies)
app.command()(show)
app.command()(export)
app.command()(reproduce)
app.command()(predict)
app.command()(serve)
app.command()(push)


@app.command()
def dashboard(
    database: Database = DEFAULT_DATABASE,
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
def doctor(database: Database = DEFAULT_DATABASE, as_json: Json = False) -> None:
    """Say what this machine offers and what is missing."""
    from selector.doctor import examine

    findings = examine(database)
    if as_json:
        print(json.dumps({f.name: {"ok": f.ok, "found": f.found} for f in findings}, ensure_ascii=False))
        return
    for finding in findings:
        out.print(f"{'ok ' if finding.ok else 'no '} {finding.name}: {finding.found}", soft_wrap=True)


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
