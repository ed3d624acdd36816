"""A configuration, state and batches of a few pixels, for the tests of the step and of its replicas."""

from typing import Any

import flax.traverse_util
import jax
import ml_collections
import numpy as np
import plain_networks as plain

from biggan_jax.config import default_config
from biggan_jax.training.step.state import NetworkState, TrainState, abstract_state

CLASSES, LATENT = 3, 4
SIZE = 8


def make_config(**fields: Any) -> ml_collections.ConfigDict:
    """Networks of one generator and two discriminator blocks, in float64; `fields` by dotted name."""
    config = default_config()
    config.update(batch_size=4, d_steps=2)
    config.model.update(
        resolution=SIZE,
        channels=4,
        generator_channels=(2, 1),
        discriminator_channels=(1, 2),
        num_classes=CLASSES,
        latent_dim=LATENT,
        class_embedding_dim=3,
        attention_resolution=0,
        dtype="float64",
    )
    config.optimizer.update(
        g_learning_rate=0.01, d_learning_rate=0.04, beta2=0.9, orthogonal_regularization=0.05
    )
    config.ema.update(decay=0.9, start_step=1)
    config.update_from_flattened_dict(fields)
    return config


def make_state(config: Any, optimizers: tuple, seed: int = 0) -> TrainState:
    """A state with nothing at zero or one, and an average far from the weights."""
    shapes = abstract_state(config)
    dtype = np.dtype(config.model.dtype)

    def params(tree: Any, seed: int) -> Any:
        return jax.tree.map(lambda x: x.astype(dtype), plain.random_params(tree, seed))

    def network(tree: Any, optimizer: Any, seed: int) -> NetworkState:
        values, rng = params(tree.params, seed), np.random.default_rng(seed + 1)
        u = {path: rng.normal(size=x.shape).astype(dtype) for path, x in sorted(tree.u.items())}
        return NetworkState(
            values, {path: x / np.linalg.norm(x) for path, x in u.items()}, optimizer.init(values)
        )

    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return zeros.replace(
        rng=np.array([seed, 12345], np.uint32),
        generator=network(shapes.generator, optimizers[0], seed + 10),
        discriminator=network(shapes.discriminator, optimizers[1], seed + 20),
        ema_params=params(shapes.ema_params, seed + 30),
    )


def make_batch(config: Any, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (config.d_steps, config.batch_size)
    return {
        "images": rng.integers(0, 256, (*shape, SIZE, SIZE, 3), np.uint8),
        "labels": rng.integers(0, CLASSES, shape, np.int32),
    }


def flat(tree: Any) -> dict[str, np.ndarray]:
    return {path: np.asarray(x) for path, x in flax.traverse_util.flatten_dict(tree, sep="/").items()}


def nested(leaves: dict[str, np.ndarray]) -> Any:
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def assert_same(actual: Any, expected: Any, tolerance: float) -> None:
    """Compares two trees leaf by leaf, absolutely."""
    pairs = zip(jax.tree.leaves_with_path(actual), jax.tree.leaves_with_path(expected), strict=True)
    for (path, a), (_, b) in pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=jax.tree_util.keystr(path))
