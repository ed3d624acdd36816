"""Drawing from what was imported, as the sampler does."""

import jax
import numpy as np

from biggan_jax.models.networks import make_generator


def images_of(imported, z, labels, truncation=0.0):
    draw = jax.jit(make_generator(imported.model).apply, static_argnames="stored_statistics")
    variables = {"params": imported.params, "statistics": imported.statistics[truncation]}
    return np.asarray(draw(variables, z, labels, stored_statistics=True))


def inputs(imported, count=2, seed=3):
    rng = np.random.default_rng(seed)
    z = np.float32(rng.normal(size=(count, imported.model.latent_dim)))
    return z, rng.integers(imported.model.num_classes, size=count)
