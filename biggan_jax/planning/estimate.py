"""Compiles the program of a run for a slice, and estimates its memory, time and traffic.

The program is the one that training calls (training/step/program.py), with the config's mapping. Its
arithmetic is counted exactly before compiling. Memory and time are the compiler's plan; nothing runs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from biggan_jax.config import validate
from biggan_jax.models import flops
from biggan_jax.planning import hlo
from biggan_jax.planning.slices import Slice, refusal
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.program import abstract_arguments, make_call
from biggan_jax.training.step.update import make_update


@dataclasses.dataclass(frozen=True)
class Plan:
    """The estimate of a run on a slice; None where the compiler gives no number.

    Attributes:
      topology: Name of the slice.
      replicas: Number of devices: cores of v2 and v3, chips of the others.
      hosts: Number of hosts, with one process each.
      batch_per_replica: Images of one update on one replica.
      fits: Whether the memory of one device suffices.
      hbm_bytes: Memory of one device that the program needs: `state_bytes` + `activation_bytes`.
      hbm_limit_bytes: Memory of one device that the compiler allows a program.
      state_bytes: Parameters, Adam's moments, the average, spectral norm's vectors.
      activation_bytes: All else: activations, gradients, the batch, padding, the program itself.
      tflop_per_step: 10¹² multiplications and additions in one replica's convolutions and matrix products,
        including those that rematerialisation repeats.
      seconds_per_step: Sum of the compiler's estimates of each operation's cycles.
      best_seconds_per_step: The compiler's lower bound: each operation at the peak of arithmetic or memory.
      share_of_peak: Share of the device's peak arithmetic, at `seconds_per_step`.
      collective_bytes: Bytes that each replica receives from the sums over all replicas in a step.
      hours: Hours for `config.total_steps` at `seconds_per_step`.
      device_hours: `hours` times replicas.
    """

    topology: str
    replicas: int
    hosts: int
    batch_per_replica: int
    fits: bool
    hbm_bytes: int
    hbm_limit_bytes: int
    state_bytes: int
    activation_bytes: int
    tflop_per_step: float
    seconds_per_step: float | None = None
    best_seconds_per_step: float | None = None
    share_of_peak: float | None = None
    collective_bytes: int | None = None
    hours: float | None = None
    device_hours: float | None = None


def make_plan(config: ConfigDict, pod: Slice, show: Callable[[str], None]) -> Plan:
    """Compiles a run for a slice, which takes minutes, and estimates its needs.

    Args:
      config: Complete config.
      pod: Slice on which the run is planned.
      show: Function that shows a line of progress.

    Returns:
      The estimate.

    Raises:
      ConfigError: The config is impossible, by itself or with this number of replicas.
    """
    replicas = Replicas(config.replicas.mapping, pod.devices)
    validate(config, replicas.count)
    show("tracing")
    call = make_call(make_update(config, AXIS), replicas)
    arguments = abstract_arguments(config, replicas)
    flop = flops.count(jax.make_jaxpr(call)(*arguments)) // config.steps_per_call
    lowered = call.lower(*arguments)
    show("compiling")
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        compiled, hbm = None, refusal(error)[0]
    else:
        hbm = planned_bytes(compiled.memory_analysis())
    state = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(arguments[0]))
    plan = Plan(
        topology=pod.name,
        replicas=replicas.count,
        hosts=pod.hosts,
        batch_per_replica=config.batch_size // replicas.count,
        fits=compiled is not None and hbm <= pod.hbm_limit,
        hbm_bytes=hbm,
        hbm_limit_bytes=pod.hbm_limit,
        state_bytes=state,
        activation_bytes=hbm - state,
        tflop_per_step=flop / 1e12,
    )
    return plan if compiled is None else dataclasses.replace(plan, **_speed(config, pod, compiled, flop))


def planned_bytes(memory: Any) -> int:
    """Returns the bytes of one device that a program needs; `memory` is its `memory_analysis()`."""
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
        + results
    )


def _speed(
    config: ConfigDict, pod: Slice, compiled: jax.stages.Compiled, flop: int
) -> dict[str, float | None]:
    totals = hlo.totals(compiled.as_text() or "")
    traffic = {"collective_bytes": totals.collective_bytes // config.steps_per_call}
    if not totals.cycles:
        return traffic
    seconds = totals.cycles / pod.generation.clock / config.steps_per_call
    # The lower bound counts each loop once; it is scaled by the cycles that the repetitions of loops add.
    best = (
        (compiled.cost_analysis() or {})["optimal_seconds"]
        * totals.cycles
        / totals.cycles_counting_loops_once
    )
    # For some programs for v4, v5e and v6e the compiler's bound is negative.
    best = best / config.steps_per_call if best > 0 else None
    hours = seconds * config.total_steps / 3600
    return traffic | {
        "seconds_per_step": seconds,
        "best_seconds_per_step": best,
        "share_of_peak": flop / 1e12 / seconds / pod.generation.peak_tflops,
        "hours": hours,
        "device_hours": hours * len(pod.devices),
    }


def suggestions(config: ConfigDict, plan: Plan) -> list[str]:
    """Returns what to change in a run that does not fit, as flags of the command line where possible.

    Args:
      config: Config of the run.
      plan: Its estimate.

    Returns:
      Suggestions, with the smallest change of the run first.
    """
    lines = []
    if config.model.dtype == "float32":
        lines.append("--config.model.dtype=bfloat16, which halves activations")
    if not config.model.remat:
        lines.append("--config.model.remat=True, which recomputes blocks in the backward pass: more time")
    halves = plan.batch_per_replica % (2 * config.micro_batches) == 0
    if halves:
        lines.append(
            f"--config.micro_batches={2 * config.micro_batches}, which halves activations; batch norm then "
            "uses the statistics of each micro-batch"
        )
    if plan.batch_per_replica % 2 == 0:
        lines.append(f"--config.batch_size={config.batch_size // 2}, which is another run")
    if halves:
        lines.append("a slice of more chips")
    return lines
