"""Summarises a sweep on the terminal, and as summary.csv, summary.md and summary.html in its workdir."""

import os
from collections.abc import Sequence

from etils import epath
from rich.console import Console

from biggan_jax.runtime.files import write_file
from biggan_jax.sweeps.html_summary import html_summary
from biggan_jax.sweeps.results import collect
from biggan_jax.sweeps.sweep_file import Run
from biggan_jax.sweeps.tables import as_csv, as_markdown, on_terminal

WIDTH = 120  # characters of a table in a file or a pipe, which have no width


def summarise(runs: Sequence[Run], workdir: epath.Path) -> None:
    """Prints the tables of a sweep and writes its three summary files.

    Args:
      runs: Runs of the sweep.
      workdir: Directory of the sweep.

    Raises:
      UserError: No run has started, or the workdir cannot be written.
    """
    results, notes = collect(runs, workdir)
    files = {
        "summary.csv": as_csv(results),
        "summary.md": as_markdown(results, notes),
        "summary.html": html_summary(title_of(workdir), results, notes),
    }
    for name, content in files.items():
        write_file(workdir / name, content.encode())
    console = Console(highlight=False, markup=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = WIDTH
    for table in on_terminal(results):
        console.print(table)
    for line in (*notes.sentences, *notes.warnings):
        console.print(line, soft_wrap=not console.is_terminal)
    console.print(f"written to {workdir}: {', '.join(files)}", soft_wrap=True)


def title_of(workdir: epath.Path) -> str:
    """Returns the title of a sweep's summary: `Sweep ablation`, and `Sweep` for a directory named "sweep"."""
    name = workdir.name
    return name.capitalize() if name.lower().startswith("sweep") else f"Sweep {name}"
