r"""Measures the cost of `replicas.mapping`: pmap and shard_map alternate, in any number of processes.

  python -m benchmarks.mapping --config=configs/fashion_mnist.py
  python launch/local.py --processes=4 --devices=1 -- python -m benchmarks.mapping \
      --config=configs/fashion_mnist.py --config.batch_size=8

Both mappings run the training step on batches of noise, and a step that only returns the state, whose time is
that of the mapping itself. Times are medians; their ratio may carry over to other machines.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from biggan_jax.runtime import cli


def main(argv: Sequence[str]) -> None:
    """Measures both mappings, and prints a row for each."""
    del argv
    from biggan_jax.runtime import processes  # imported late, so that --help is quick

    place = (flags.FLAGS.coordinator_address, flags.FLAGS.num_processes, flags.FLAGS.process_id)
    processes.join(*place, flags.FLAGS.arrival_seconds)
    with processes.fail_fast():
        _measure(flags.FLAGS.config, flags.FLAGS.rounds)


def _measure(config: ConfigDict, rounds: int) -> None:
    import jax
    import numpy as np

    from biggan_jax.config import validate
    from biggan_jax.runtime.mappings import MAPPINGS
    from biggan_jax.runtime.replicas import AXIS, Replicas
    from biggan_jax.training.step.state import create_state
    from biggan_jax.training.step.update import make_update

    validate(config, replicas=jax.device_count())
    shape = (config.d_steps, config.batch_size // jax.process_count())
    size = config.model.resolution
    batch = {
        "images": np.random.default_rng(0).integers(0, 256, (*shape, size, size, 3), np.uint8),
        "labels": np.zeros(shape, np.int32),
    }
    initial = jax.device_get(create_state(config))
    on_cpu = jax.devices()[0].platform == "cpu"
    steps = {"the step": make_update(config, AXIS, unroll=on_cpu), "state alone": _pass_on}
    runs = {}
    for name, function in steps.items():
        for mapping in MAPPINGS:
            replicas = Replicas(mapping)
            step = replicas.map(function)
            state, _ = jax.block_until_ready(step(replicas.put_state(initial), replicas.put_batch(batch)))
            runs[name, mapping] = _Run(replicas, step, state, [])
    for _ in range(rounds):
        for run in runs.values():
            start = time.perf_counter()
            run.state, _ = jax.block_until_ready(run.step(run.state, run.replicas.put_batch(batch)))
            run.seconds.append(time.perf_counter() - start)

    if jax.process_index():
        return
    kind, size = jax.devices()[0].device_kind, sum(x.nbytes for x in jax.tree.leaves(initial))
    print(
        f"{jax.device_count()} × {kind} in {jax.process_count()} processes, batch {config.batch_size}, "
        f"state of {size / 1e6:.0f} MB"
    )
    print(f"{'':<14}{'mapping':<12}{'ms':>10}{'against ' + MAPPINGS[0]:>16}")
    for (name, mapping), run in runs.items():
        median = statistics.median(run.seconds)
        ratio = median / statistics.median(runs[name, MAPPINGS[0]].seconds)
        print(f"{name:<14}{mapping:<12}{1000 * median:>10.1f}{ratio:>16.2f}")


@dataclasses.dataclass
class _Run:
    replicas: Any
    step: Callable[..., Any]
    state: Any
    seconds: list[float]


def _pass_on(state: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the state as it is, so that only the work of the mapping remains."""
    from jax import lax

    from biggan_jax.runtime.replicas import AXIS

    return state, lax.psum(batch["labels"].sum(), AXIS)


if __name__ == "__main__":
    # Defined here so that tests can import all benchmarks, whose flags share names.
    cli.define_config()
    flags.DEFINE_integer("rounds", 20, "number of steps of each kind, which alternate", lower_bound=1)
    cli.define_processes()
    cli.run(main)
