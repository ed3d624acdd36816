"""A plan in words: a table with a column for each slice, and what to change where a run does not fit."""

import dataclasses
import json
from collections.abc import Callable, Sequence

import rich.box
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from biggan_jax.planning.estimate import Plan, remedies

NOTE = (
    "This is an estimate by the compiler for TPUs: nothing was run. Time is that of computing; traffic "
    "between devices, waiting for data, checkpoints, sheets and evaluation come on top."
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
    "  at the very best": lambda plan: _number(plan.best_seconds_per_step),
    "share of peak": lambda plan: _number(plan.share_of_peak and plan.share_of_peak * 100, " %"),
    "collectives a step and replica": lambda plan: _number(
        plan.collective_bytes and plan.collective_bytes / 1e6, " MB"
    ),
    "hours for the run": lambda plan: _number(plan.hours),
    "device-hours": lambda plan: _number(plan.device_hours),
}


def show(console: Console, config: ConfigDict, plans: Sequence[Plan]) -> None:
    """Prints all plans of one config side by side, with remedies for those that don't fit."""
    console.print(table(config, plans))
    for plan in plans:
        if not plan.fits:
            console.print(f"{plan.topology}: does not fit. What helps:", soft_wrap=True)
            for remedy in remedies(config, plan):
                console.print(f"  {remedy}", soft_wrap=True)
    console.print(NOTE, soft_wrap=True)


def table(config: ConfigDict, plans: Sequence[Plan]) -> Table:
    """The numbers, with a column for each plan."""
    title = f"batches of {config.batch_size:,}, {config.total_steps:,} steps, {config.replicas.mapping}"
    result = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    result.add_column()
    for plan in plans:
        result.add_column(plan.topology, justify="right")
    for name, cell in ROWS.items():
        result.add_row(name, *map(cell, plans))
    return result


def as_json(plan: Plan) -> str:
    """One object with the fields of `Plan`, on one line."""
    return json.dumps(dataclasses.asdict(plan))


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"


def _number(value: float | None, unit: str = "") -> str:
    """Three digits, more for large numbers; a dash for what is not known."""
    if value is None:
        return "–"
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + unit
