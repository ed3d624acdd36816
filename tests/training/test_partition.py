"""However a batch is cut, over replicas, micro-batches or batch norm groups, the update is the same.

In float64, where only rounding may differ; Adam with β1 = 0 scales the first gradients to full steps of the
learning rate whatever their size, so a real difference would show at 1e-4.
"""

import functools

import jax
import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.models.spectral_norm import normalize, power_iteration
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.sampling.latents import sample_labels, sample_latents
from biggan_jax.training.step.state import TrainState, create_state
from biggan_jax.training.step.update import make_update

pytestmark = pytest.mark.slow

TINY = {
    "batch_size": 16,
    "d_steps": 1,
    "model.resolution": 8,
    "model.channels": 4,
    "model.generator_channels": (2, 1),
    "model.discriminator_channels": (1,),
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
    "remedies.r2": 0.5,
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


def test_four_micro_batches_give_the_update_of_one_where_batch_norm_groups_are_the_same():
    assert_same(
        run(**{"replicas.batch_norm_group": 4}), run(micro_batches=4, **{"replicas.batch_norm_group": 4})
    )


def test_the_generators_gradient_is_the_mean_of_those_of_its_micro_batches_taken_one_by_one():
    config = default_config()
    fields = {"micro_batches": 4, "optimizer.orthogonal_regularization": 0.0, "optimizer.epsilon": 1.0}
    config.update_from_flattened_dict(TINY | fields | {"optimizer.d_learning_rate": 0.0})
    state, model = initial_state(), config.model
    batch = {"images": np.zeros((1, 16, 8, 8, 3), np.uint8), "labels": np.zeros((1, 16), np.int32)}
    after, numbers = jax.jit(make_update(config))(state, batch)

    # D's weights stay, at a rate of 0, but its vectors turn once in its own update and once for G's.
    d_params, d_u = state.discriminator.params, state.discriminator.u
    d_u = power_iteration(d_params, d_u, model.epsilon).right
    d_weights = normalize(d_params, power_iteration(d_params, d_u, model.epsilon), model.epsilon)
    g_vectors = power_iteration(state.generator.params, state.generator.u, model.epsilon)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), 0)
    latents, labels, _, _ = jax.random.split(jax.random.split(key)[1], 4)

    def loss(params, indices):
        weights = normalize(params, g_vectors, model.epsilon)
        z = sample_latents(latents, indices, model.latent_dim, model.latent_distribution)
        y = sample_labels(labels, indices, model.num_classes)
        images = make_generator(model).apply({"params": weights}, z, y)
        return -make_discriminator(model).apply({"params": d_weights}, images, y).mean()

    gradient = jax.jit(jax.value_and_grad(loss))
    parts = [gradient(state.generator.params, np.arange(i, i + 4)) for i in (0, 4, 8, 12)]
    losses, gradients = zip(*parts, strict=True)
    assert numbers["g_loss"] == pytest.approx(np.mean(losses), abs=1e-12)
    mean = jax.tree.map(lambda *each: sum(each) / 4, *gradients)
    rate = config.optimizer.g_learning_rate
    for (path, x), before, g in zip(
        jax.tree.leaves_with_path(after.generator.params),
        jax.tree.leaves(state.generator.params),
        jax.tree.leaves(mean),
        strict=True,
    ):
        # Adam's first step without a first moment and with an ε of 1.
        np.testing.assert_allclose(
            before - x, rate * g / (np.abs(g) + 1), rtol=0, atol=1e-14, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize(("replicas", "mapping"), [(2, "shard_map"), (4, "pmap")])
def test_groups_within_one_replica_and_over_several_give_the_same(replicas, mapping):
    assert_same(run(**GROUPS_OF_8), run(replicas, mapping, **GROUPS_OF_8))


def test_remedies_fall_on_the_same_images_however_the_batch_is_cut():
    whole = run(**REMEDIES, **GROUPS_OF_8)
    assert_same(whole, run(2, "shard_map", **REMEDIES, **GROUPS_OF_8, micro_batches=2))


def test_pairs_of_real_and_generated_images_are_the_same_however_the_batch_is_cut():
    paired = {"loss": "relativistic", "remedies.r1": 0.5, "remedies.r2": 0.5, **GROUPS_OF_8}
    whole = run(**paired)
    assert_same(whole, run(2, "shard_map", **paired, micro_batches=2))
    assert np.abs(whole - run(**paired | {"loss": "hinge"})).max() > 1e-5


@pytest.mark.parametrize(
    "remedy", ["remedies.r1", "remedies.r2", "remedies.d_dropout", "remedies.lecam", "augmentation"]
)
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
