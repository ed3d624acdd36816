"""Prints plans: a table with a column for each slice, and suggestions for runs that do not fit."""

import dataclasses
import json
from collections.abc import Callable, Sequence

import rich.box
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from biggan_jax.planning.estimate import Plan, suggestions

NOTE = (
    "The compiler for TPUs estimates these numbers; nothing was run. The time is that of computing: traffic "
    "between devices, waiting for data, checkpoints, sample sheets and evaluation add to it."
)
ROWS: dict[str, Callable[[Plan], str]] = {
    "replicas (devices)": lambda plan: f"{plan.replicas:,}",
    "hosts": lambda plan: f"{plan.hosts:,}",
    "batch per replica": lambda plan: f"{plan.batch_per_replica:,}",
    "HBM of a device": lambda plan: (
        f"{_gib(plan.hbm_bytes)} of {_gib(plan.hbm_limit_bytes)} GiB{'' if plan.fits else ': does not fit'}"
    ),
    "  state": lambda plan: f"{_gib(plan.state_bytes)} GiB",
    "  activations and the rest": lambda plan: f"{_gib(plan.activation_bytes)} GiB",
    "TFLOP a step and replica": lambda plan: f"{plan.tflop_per_step:.3g}",
    "seconds a step": lambda plan: _number(plan.seconds_per_step),
    "  lower bound": lambda plan: _number(plan.best_seconds_per_step),
    "share of peak": lambda plan: _number(plan.share_of_peak and plan.share_of_peak * 100, " %"),
    "collectives a step and replica": lambda plan: _number(
        plan.collective_bytes and plan.collective_bytes / 1e6, " MB"
    ),
    "hours for the run": lambda plan: _number(plan.hours),
    "device-hours": lambda plan: _number(plan.device_hours),
}


def show(console: Console, config: ConfigDict, plans: Sequence[Plan]) -> None:
    """Prints all plans of one config side by side, and suggestions for the plans that do not fit.

    Args:
      console: Console to print on.
      config: Config of the run.
      plans: One plan for each slice.
    """
    console.print(table(config, plans))
    for plan in plans:
        if not plan.fits:
            console.print(f"{plan.topology}: does not fit. Suggestions:", soft_wrap=True)
            for suggestion in suggestions(config, plan):
                console.print(f"  {suggestion}", soft_wrap=True)
    console.print(NOTE, soft_wrap=True)


def table(config: ConfigDict, plans: Sequence[Plan]) -> Table:
    """Returns a table of the numbers with a column for each plan."""
    title = f"batches of {config.batch_size:,}, {config.total_steps:,} steps, {config.replicas.mapping}"
    result = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    result.add_column()
    for plan in plans:
        result.add_column(plan.topology, justify="right")
    for name, cell in ROWS.items():
        result.add_row(name, *map(cell, plans))
    return result


def as_json(plan: Plan) -> str:
    """Returns the fields of a plan as one JSON object on one line."""
    return json.dumps(dataclasses.asdict(plan))


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"


def _number(value: float | None, unit: str = "") -> str:
    """Formats a number with three digits, more above 100; a dash for None."""
    if value is None:
        return "–"
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + unit
