"""Sums a sweep up: on the terminal, and as summary.csv, summary.md and summary.html in its workdir."""

import os
from collections.abc import Sequence

from etils import epath
from rich.console import Console

from biggan_jax.runtime.files import write_whole
from biggan_jax.sweeps.page import summary_page
from biggan_jax.sweeps.reading import Run
from biggan_jax.sweeps.results import collect
from biggan_jax.sweeps.tables import as_csv, as_markdown, on_terminal

WIDTH = 120  # of tables in a file or a pipe, which have none


def summarise(runs: Sequence[Run], workdir: epath.Path) -> None:
    """Prints tables, and writes the files.

    Raises:
      UserError: no run has begun, or the workdir cannot be written.
    """
    results, notes = collect(runs, workdir)
    files = {
        "summary.csv": as_csv(results),
        "summary.md": as_markdown(results, notes),
        "summary.html": summary_page(f"Sweep {workdir.name}", results, notes),
    }
    for name, content in files.items():
        write_whole(workdir / name, content.encode())
    console = Console(highlight=False, markup=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = WIDTH
    for table in on_terminal(results):
        console.print(table)
    for line in (*notes.sentences, *notes.warnings):
        console.print(line, soft_wrap=not console.is_terminal)
    console.print(f"written to {workdir}: {', '.join(files)}", soft_wrap=True)
