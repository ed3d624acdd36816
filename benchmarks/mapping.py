"""What `replicas.mapping` costs: pmap and shard_map by turns, in as many processes as it is started in.

  python -m benchmarks.mapping --config=configs/fashion_mnist.py
  python launch/local.py --processes=4 --devices=1 -- python -m benchmarks.mapping \\
      --config=configs/fashion_mnist.py --config.batch_size=8

Both mappings do the same step on batches of noise. Of each one's times the median counts, and their ratio is
what another machine may have in common with this one.
"""

import statistics
import time
from collections.abc import Sequence

from absl import flags

from biggan_jax import cli

CONFIG = cli.define_config()
ROUNDS = flags.DEFINE_integer("rounds", 20, "steps of each mapping, by turns", lower_bound=1)
PLACE = cli.define_processes()


def main(argv: Sequence[str]) -> None:
    """Prints a row for each mapping."""
    del argv
    from biggan_jax.training import hosts  # here: --help need not wait for JAX

    hosts.join(*PLACE())
    with hosts.parting():
        _measure(CONFIG.value, ROUNDS.value)


def _measure(config, rounds: int) -> None:
    import jax
    import numpy as np

    from biggan_jax.config import validate
    from biggan_jax.training.replicas import AXIS, MAPPINGS, Replicas
    from biggan_jax.training.state import create_state
    from biggan_jax.training.update import make_update

    validate(config, replicas=jax.device_count())
    shape = (config.d_steps, config.batch_size // jax.process_count())
    size = config.model.resolution
    batch = {
        "images": np.random.default_rng(0).integers(0, 256, (*shape, size, size, 3), np.uint8),
        "labels": np.zeros(shape, np.int32),
    }
    initial = jax.device_get(create_state(config))
    runs = {}
    for mapping in MAPPINGS:
        replicas = Replicas(mapping)
        unroll = replicas.devices[0].platform == "cpu"
        step = replicas.map(make_update(config, AXIS, unroll))
        state, _ = jax.block_until_ready(step(replicas.put_state(initial), replicas.put_batch(batch)))
        runs[mapping] = [replicas, step, state, []]
    for _ in range(rounds):
        for run in runs.values():
            replicas, step, state, seconds = run
            start = time.perf_counter()
            run[2], _ = jax.block_until_ready(step(state, replicas.put_batch(batch)))
            seconds.append(time.perf_counter() - start)

    if jax.process_index():
        return
    kind = jax.devices()[0].device_kind
    print(f"{jax.device_count()} × {kind} in {jax.process_count()} processes, batch {config.batch_size}")
    medians = {mapping: statistics.median(run[3]) for mapping, run in runs.items()}
    print(f"{'mapping':<12}{'ms a step':>12}{'against ' + MAPPINGS[0]:>16}")
    for mapping, median in medians.items():
        print(f"{mapping:<12}{1000 * median:>12.1f}{median / medians[MAPPINGS[0]]:>16.2f}")


if __name__ == "__main__":
    cli.run(main)
