"""Compiles the program of a run for a slice, and works out what it needs there: memory, time, traffic.

The program is the one that training calls (training/step/program.py), mapped as the config says. Its
arithmetic is counted exactly before compiling. Memory and time are the compiler's plan; nothing is run.
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
    """A run on a slice; None is what the compiler does not say, as of a program that it refuses.

    Attributes:
      topology: the slice's name.
      replicas: devices: cores of v2 and v3, chips of the others.
      hosts: machines, a process each.
      batch_per_replica: images of one update on one replica.
      fits: whether one device's memory is enough.
      hbm_bytes: memory of one device that the program takes, `state_bytes` + `activation_bytes`.
      hbm_limit_bytes: what the compiler lets a program have.
      state_bytes: parameters, Adam's moments, the average, spectral norm's vectors.
      activation_bytes: all else: activations, gradients, the batch, padding, the program itself.
      tflop_per_step: 10¹² multiplications and additions of one replica's convolutions and matrix products, as
        computed, with what rematerialisation does again.
      seconds_per_step: by the compiler's estimate of each operation's cycles, one after another.
      best_seconds_per_step: by its other estimate: every operation as fast as arithmetic or memory allow.
      share_of_peak: of the device's arithmetic, at `seconds_per_step`.
      collective_bytes: that each replica gets from the sums over all replicas in a step.
      hours: for `config.total_steps` at `seconds_per_step`.
      device_hours: `hours` of all replicas.
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


def make_plan(config: ConfigDict, pod: Slice, tell: Callable[[str], None]) -> Plan:
    """Compiles, which takes minutes.

    Args:
      config: the whole config.
      pod: where it is to run.
      tell: takes a line on what is going on.

    Raises:
      ConfigError: the config is impossible, alone or on so many replicas.
    """
    replicas = Replicas(config.replicas.mapping, pod.devices)
    validate(config, replicas.count)
    tell("tracing")
    call = make_call(make_update(config, AXIS), replicas)
    arguments = abstract_arguments(config, replicas)
    flop = flops.count(jax.make_jaxpr(call)(*arguments)) // config.steps_per_call
    lowered = call.lower(*arguments)
    tell("compiling")
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
    """Memory of one device that a program takes; `memory` is its `memory_analysis()`."""
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
    totals = hlo.totals(compiled.as_text())
    exchanged = {"collective_bytes": totals.collective_bytes // config.steps_per_call}
    if not totals.cycles:
        return exchanged
    seconds = totals.cycles / pod.generation.clock / config.steps_per_call
    # The best time counts every loop once; what loops add is taken to be as much as they add to the cycles.
    best = compiled.cost_analysis()["optimal_seconds"] * totals.cycles / totals.cycles_counting_loops_once
    # Of some programs for v4, v5e and v6e the compiler adds it up to minus some minutes.
    best = best / config.steps_per_call if best > 0 else None
    hours = seconds * config.total_steps / 3600
    return exchanged | {
        "seconds_per_step": seconds,
        "best_seconds_per_step": best,
        "share_of_peak": flop / 1e12 / seconds / pod.generation.peak_tflops,
        "hours": hours,
        "device_hours": hours * len(pod.devices),
    }


def remedies(config: ConfigDict, plan: Plan) -> list[str]:
    """What makes a plan that does not fit smaller, as flags of the command line where there is one."""
    found = []
    if config.model.dtype == "float32":
        found.append("--config.model.dtype=bfloat16, which halves activations")
    if not config.model.remat:
        found.append("--config.model.remat=True, which computes blocks again in the backward pass: more time")
    halves = plan.batch_per_replica % (2 * config.micro_batches) == 0
    if halves:
        found.append(
            f"--config.micro_batches={2 * config.micro_batches}, which halves activations: batch norm then "
            "takes its statistics of each micro-batch"
        )
    if plan.batch_per_replica % 2 == 0:
        found.append(f"--config.batch_size={config.batch_size // 2}, another run")
    if halves:
        found.append("a slice of more chips")
    return found
