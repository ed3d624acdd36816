"""Exported generators of a few pixels, with random numbers in all parameters and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain

from biggan_jax.config import default_config
from biggan_jax.models.networks import make_generator
from biggan_jax.models.spectral_norm import initial_vectors
from biggan_jax.sampling.exported_generator import ExportedGenerator, TrainedNetwork
from biggan_jax.training.step.state import abstract_state

CLASSES, LATENT, SIZE = 3, 6, 8
NAMES = ("sandal", "bag", "ankle boot")


def make_config(**fields):
    """Networks of one block each; `fields` by dotted name."""
    config = default_config()
    config.model.update(
        resolution=SIZE,
        channels=8,
        generator_channels=(2, 1),
        discriminator_channels=(1, 1),
        num_classes=CLASSES,
        latent_dim=LATENT,
        class_embedding_dim=3,
        attention_resolution=0,
    )
    config.data.source = "nowhere"
    config.update_from_flattened_dict(fields)
    return config


def make_exported(truncations=(0.5, 1.0, 0.0), kind="threshold", training=False, names=NAMES, **fields):
    """Makes an exported generator; `training` adds both trained networks."""
    model, rng = make_config(**fields).model, np.random.default_rng(0)
    z, labels = jnp.zeros((2, model.latent_dim)), jnp.zeros(2, jnp.int32)
    shapes = jax.eval_shape(make_generator(model).init, jax.random.key(0), z, labels)

    def statistic(path, leaf):
        values = 0.3 * rng.normal(size=leaf.shape)
        return np.float32(0.5 + np.abs(values) if path[-1].key == "variance" else values)

    def filled(tree, seed):
        return jax.tree.map(np.float32, plain.random_params(tree, seed))

    networks = {}
    if training:
        state = abstract_state(make_config(**fields))
        for name, seed in {"generator": 2, "discriminator": 3}.items():
            params = filled(getattr(state, name).params, seed)
            vectors = jax.device_get(initial_vectors(params, jax.random.key(seed)))
            networks[name] = TrainedNetwork(params, vectors)
    return ExportedGenerator(
        model=model,
        params=filled(shapes["params"], 1),
        statistics={
            float(truncation): jax.tree_util.tree_map_with_path(statistic, shapes["statistics"])
            for truncation in truncations
        },
        truncation_kind=kind,
        class_names=names,
        provenance={"format": "test", "step": 7},
        **networks,
    )


def assert_same(one: ExportedGenerator, other: ExportedGenerator):
    """Compares all parts of two exports bit for bit."""
    for name in ("model", "truncation_kind", "class_names", "provenance"):
        assert getattr(one, name) == getattr(other, name), name

    def trees(of):
        networks = [(net.params, net.u) for net in (of.generator, of.discriminator) if net]
        return of.params, {str(key): tree for key, tree in of.statistics.items()}, networks

    jax.tree.map(np.testing.assert_array_equal, trees(one), trees(other))
