"""Workdirs of runs of a few pixels that nobody trained: a config and checkpoints of random weights."""

import json

import jax
import numpy as np
import plain_networks as plain
from tiny_exports import make_config

from biggan_jax.config import config_to_json
from biggan_jax.models.spectral_norm import initial_vectors
from biggan_jax.training.run.checkpoints import Checkpoints
from biggan_jax.training.step.state import abstract_state


def make_run_config(**fields):
    return make_config(**{"sampling.standing_passes": 2, "sampling.batch_size": 8} | fields)


def random_state(config, seed=0):
    def filled(tree, seed):
        return jax.tree.map(np.float32, plain.random_params(tree, seed))

    state = abstract_state(config)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    params = filled(state.ema_params, seed)
    vectors = jax.device_get(initial_vectors(params, jax.random.key(seed)))
    return zeros.replace(ema_params=params, generator=zeros.generator.replace(params=params, u=vectors))


def write_run(workdir, config, scores):
    """A checkpoint for each step in `scores`, which has the numbers it is judged by."""
    workdir.mkdir(exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config_to_json(config)))
    checkpoints = Checkpoints(workdir / "checkpoints", config)
    for step, numbers in scores.items():
        checkpoints.save(step, random_state(config, seed=step), {"unlogged": []}, numbers)
    checkpoints.wait()
    checkpoints.close()
