"""However a batch is cut, over replicas, micro-batches or batch norm groups, the update is the same.

In float64, where only rounding may differ; Adam with β1 = 0 scales the first gradients to full steps of the
learning rate whatever their size, so a real difference would show at 1e-4.
"""

import functools

import jax
import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.training.replicas import AXIS, Replicas
from biggan_jax.training.state import TrainState, create_state
from biggan_jax.training.update import make_update

TINY = {
    "batch_size": 16,
    "d_steps": 1,
    "model.resolution": 8,
    "model.channels": 4,
    "model.generator_channels": (2, 1),
    "model.discriminator_channels": (1, 2),
    "model.num_classes": 3,
    "model.latent_dim": 6,
    "model.class_embedding_dim": 5,
    "model.attention_resolution": 0,
    "model.dtype": "float64",
    "ema.start_step": 1,
    "ema.decay": 0.9,
}
REMEDIES = {
    "remedies.r1": 1.0,
    "remedies.d_dropout": 0.3,
    "remedies.g_clamp": 0.9,
    "remedies.lecam": 0.1,
    "remedies.lecam_start_step": 1,
    "augmentation": "color,translation,cutout",
}
GROUPS_OF_8 = {"replicas.batch_norm_group": 8}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@functools.cache
def initial_state() -> TrainState:
    """In float64, on the host: none of the fields that the tests vary has a part in it."""
    config = default_config()
    config.update_from_flattened_dict(TINY)
    widen = lambda x: np.asarray(x, np.float64 if x.dtype == np.float32 else x.dtype)  # noqa: E731
    return jax.tree.map(widen, create_state(config))


@functools.cache
def parameters_after_two_steps(replicas: int, mapping: str, fields: tuple) -> np.ndarray:
    config = default_config()
    config.update_from_flattened_dict(TINY | dict(fields))
    mapped = Replicas(mapping, jax.devices()[:replicas])
    step = mapped.map(make_update(config, AXIS))
    state = mapped.put_state(initial_state())
    rng = np.random.default_rng(0)
    for _ in range(2):
        images = rng.integers(0, 256, (1, 16, 8, 8, 3), dtype=np.uint8)
        batch = {"images": images, "labels": rng.integers(0, 3, (1, 16), dtype=np.int32)}
        state, _ = jax.block_until_ready(step(state, mapped.put_batch(batch)))
    leaves = jax.tree.leaves((state.ema_params, state.generator.params, state.discriminator.params))
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def run(replicas: int = 1, mapping: str = "pmap", **fields: object) -> np.ndarray:
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return parameters_after_two_steps(replicas, mapping, tuple(sorted(named.items())))


def assert_same(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_micro_batches_are_ranges_of_the_global_batch_on_any_number_of_replicas():
    assert_same(run(1, micro_batches=2), run(4, micro_batches=2))


def test_statistics_of_micro_batches_are_their_own():
    # One batch norm group a micro-batch is what micro-batches do by themselves: nothing else may change.
    whole = run(**{"replicas.batch_norm_group": 8})
    assert_same(whole, run(micro_batches=2))
    assert_same(whole, run(micro_batches=2, **GROUPS_OF_8))
    assert np.abs(whole - run()).max() > 1e-5


@pytest.mark.parametrize(("replicas", "mapping"), [(2, "shard_map"), (4, "pmap")])
def test_groups_within_one_replica_and_over_several_give_the_same(replicas, mapping):
    assert_same(run(**GROUPS_OF_8), run(replicas, mapping, **GROUPS_OF_8))


def test_remedies_fall_on_the_same_images_however_the_batch_is_cut():
    whole = run(**REMEDIES, **GROUPS_OF_8)
    assert_same(whole, run(2, "shard_map", **REMEDIES, **GROUPS_OF_8, micro_batches=2))


@pytest.mark.parametrize("remedy", ["remedies.r1", "remedies.d_dropout", "remedies.lecam", "augmentation"])
def test_each_remedy_changes_the_update(remedy):
    start = {"remedies.lecam_start_step": 1} if "lecam" in remedy else {}
    changed = run(**{remedy: REMEDIES[remedy]}, **start)
    assert np.isfinite(changed).all()
    assert np.abs(changed - run()).max() > 1e-5


def test_clamp_holds_the_first_layers_largest_singular_value():
    config = default_config()
    config.update_from_flattened_dict(TINY | {"remedies.g_clamp": 0.5})
    state = initial_state()
    update = jax.jit(make_update(config))
    batch = {"images": np.zeros((1, 16, 8, 8, 3), np.uint8), "labels": np.zeros((1, 16), np.int32)}
    before = np.linalg.svd(np.asarray(state.generator.params["linear"]["kernel"]), compute_uv=False)
    for _ in range(20):  # orthogonal at first: its singular values are all 1, and are clamped one by one
        state, _ = update(state, batch)
    after = np.linalg.svd(np.asarray(state.generator.params["linear"]["kernel"]), compute_uv=False)
    assert before.max() == pytest.approx(1, abs=1e-6)
    assert after.max() < 0.6
