"""One process of several that do five steps each way and say what came out; test_hosts.py starts it.

one_of_several.py OUTPUT.npz ADDRESS PROCESSES PROCESS_ID MAPPING:REPLICAS …
"""

import sys

import jax
import numpy as np
from tiny_training import flat, make_batch, make_config, make_state

from biggan_jax.runtime import processes
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.state import make_optimizers
from biggan_jax.training.step.update import make_update

STEPS = 5


def after_five_steps(mapping: str, count: int) -> dict[str, np.ndarray]:
    # The smallest discriminator: compiling is what takes the time.
    tiny = {"d_steps": 1, "batch_size": 16, "model.discriminator_channels": (1,)}
    config = make_config(**tiny, **{"model.dtype": "float32"})
    replicas = Replicas(mapping, sorted(jax.devices(), key=lambda device: device.id)[:count])
    step = replicas.map(make_update(config, AXIS))
    # The state of the first process counts: the others start from another one.
    state = replicas.put_state(
        make_state(config, make_optimizers(config.optimizer), seed=jax.process_index())
    )
    size = config.batch_size // jax.process_count()
    mine = slice(jax.process_index() * size, (jax.process_index() + 1) * size)
    for seed in range(STEPS):
        batch = {name: x[:, mine] for name, x in make_batch(config, seed).items()}
        state, numbers = jax.block_until_ready(step(state, replicas.put_batch(batch)))
    state, numbers = jax.device_get((state, numbers))
    params = {
        "generator": state.generator.params,
        "discriminator": state.discriminator.params,
        "ema": state.ema_params,
        "numbers": numbers,
    }
    return flat(params)


if __name__ == "__main__":
    output, address, count, index, *jobs = sys.argv[1:]
    processes.join(address, int(count), int(index))
    with processes.fail_fast():
        results = {}
        for job in jobs:
            mapping, count = job.split(":")
            results |= {f"{job}/{path}": x for path, x in after_five_steps(mapping, int(count)).items()}
        whole = np.random.default_rng(0).normal(size=(7, 2, 3))  # float64, not to be had evenly
        part = whole[processes.share(7).start : processes.share(7).stop]
        for processes.GATHERED_BYTES in (
            1 << 20,
            2 * whole[0].nbytes,
            1,
        ):  # in one piece, in several, by rows
            np.testing.assert_array_equal(processes.gather(part, 7), whole)
        first = whole[:1][: len(processes.share(1))]  # fewer rows than processes
        np.testing.assert_array_equal(processes.gather(first, 1), whole[:1])
        said = Replicas().broadcast({"process": jax.process_index(), "words": "grüß Gott"})
        assert said == {"process": 0, "words": "grüß Gott"}, said
        if jax.process_index() == 0:
            np.savez(output, **results)
