"""The number of devices is no hyperparameter, and what the mappings do to states and batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_training import assert_same, make_batch, make_config, make_state

from biggan_jax.runtime.mappings import MAPPINGS
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.state import make_optimizers
from biggan_jax.training.step.update import make_update

STEPS = 3

pytestmark = pytest.mark.skipif(jax.device_count() < 4, reason="needs four devices, real or simulated")


@functools.cache
def after_three_steps(mapping, count, **fields):
    """State and last metrics, of the smallest discriminator, for compiling is what takes the time."""
    tiny = {"batch_size": 8, "d_steps": 1, "model.discriminator_channels": (1,)}
    config = make_config(**tiny | {name.replace("__", "."): value for name, value in fields.items()})
    with jax.enable_x64(config.model.dtype == "float64"):
        replicas = Replicas(mapping, jax.devices()[:count])
        step = replicas.map(make_update(config, AXIS, unroll=True))
        state = replicas.put_state(make_state(config, make_optimizers(config.optimizer)))
        for seed in range(STEPS):
            batch = replicas.put_batch(make_batch(config, seed))
            state, metrics = jax.block_until_ready(step(state, batch))
        assert state.generator.params["linear"]["kernel"].dtype == config.model.dtype
        return jax.tree.map(np.asarray, (state, metrics))


@pytest.mark.slow
@pytest.mark.parametrize(("mapping", "count"), [("shard_map", 2), ("shard_map", 4), ("pmap", 4)])
def test_one_two_and_four_replicas_give_the_same_states_and_metrics_with_either_mapping(mapping, count):
    # Rounding only: some 1e-15 is seen. Adam with β1 = 0 divides a gradient by its own size, and by no less
    # than ε = 1e-8: noise of 1e-16 in a gradient near 0 could come to 1e-8 of a step of the rate, 0.04.
    assert_same(after_three_steps(mapping, count), after_three_steps("pmap", 1), 4e-10)


@pytest.mark.slow
def test_four_replicas_agree_with_one_in_float32_too():
    # As above with noise of 1e-7, of which an ε of 1e-2 leaves 1e-5 of a step of 0.04; 2e-6 is seen.
    settings = dict(model__dtype="float32", optimizer__epsilon=1e-2)
    assert_same(after_three_steps("pmap", 4, **settings), after_three_steps("pmap", 1, **settings), 2e-5)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_states_have_no_device_axis_and_are_whole_on_every_device_before_and_after_a_step(mapping):
    replicas = Replicas(mapping, jax.devices()[:4])
    state = replicas.put_state({"weights": np.arange(6.0, dtype=np.float32)})
    step = replicas.map(lambda state, batch: jax.tree.map(lambda x: x + 1, state))
    after = jax.block_until_ready(step(state, replicas.put_batch({"labels": np.zeros((1, 4), np.int32)})))
    np.testing.assert_array_equal(after["weights"], np.arange(1, 7))
    for array in (replicas.put_state(np.zeros(6)), after["weights"]):
        assert array.shape == (6,) and array.sharding.is_fully_replicated
        assert array.devices() == set(replicas.devices)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_each_replica_gets_its_own_part_of_the_batch_in_order(mapping):
    replicas = Replicas(mapping, jax.devices()[:4])

    def part(state, batch):
        return jax.lax.all_gather(batch["labels"], AXIS), jax.lax.all_gather(jax.lax.axis_index(AXIS), AXIS)

    labels = np.arange(2 * 8, dtype=np.int32).reshape(2, 8)  # d_steps of 2, global batch of 8
    found, numbers = replicas.map(part)(
        replicas.put_state(np.zeros(1)), replicas.put_batch({"labels": labels})
    )
    np.testing.assert_array_equal(numbers, np.arange(4))
    for replica in range(4):
        np.testing.assert_array_equal(found[replica], labels[:, 2 * replica : 2 * replica + 2])


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_state_is_donated_unless_the_caller_keeps_it(mapping):
    replicas = Replicas(mapping, jax.devices()[:2])
    batch = replicas.put_batch({"labels": np.zeros((1, 2), np.int32)})
    for donate in (True, False):
        state = replicas.put_state(jnp.zeros(5))
        jax.block_until_ready(replicas.map(lambda state, batch: state + 1, donate=donate)(state, batch))
        assert state.is_deleted() == donate


def test_only_several_replicas_on_one_cpu_must_wait_for_each_step():
    on_cpu = jax.devices()[0].platform == "cpu"
    assert Replicas("pmap", jax.devices()[:2]).must_wait == on_cpu
    assert not Replicas("pmap", jax.devices()[:1]).must_wait


def test_all_devices_take_part_by_default():
    assert Replicas().count == jax.device_count()


def test_unknown_mapping_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"replicas.mapping = 'xmap'.*pmap.*shard_map"):
        Replicas("xmap")
