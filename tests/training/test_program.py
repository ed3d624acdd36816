"""The program of a call, as shapes: what is compiled without arrays is what training runs."""

import jax
import numpy as np
import pytest
from tiny_training import make_batch, make_config, make_state

from biggan_jax.runtime.mappings import MAPPINGS
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.program import abstract_arguments, make_call
from biggan_jax.training.step.state import make_optimizers
from biggan_jax.training.step.update import make_update

pytestmark = pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices, real or simulated")


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_abstract_arguments_are_the_real_ones_in_shape_type_and_place(mapping):
    config = make_config(**{"model.dtype": "float32", "steps_per_call": 3})
    replicas = Replicas(mapping, jax.devices()[:2])
    batches = [make_batch(config, seed) for seed in range(3)]
    real = (
        replicas.put_state(make_state(config, make_optimizers(config.optimizer))),
        (
            replicas.put_batch({name: np.stack([batch[name] for batch in batches]) for name in batches[0]}),
            replicas.put_scalar(0),
        ),
    )
    abstract = abstract_arguments(config, replicas)
    assert jax.tree.structure(abstract) == jax.tree.structure(real)
    for expected, found in zip(jax.tree.leaves(real), jax.tree.leaves(abstract), strict=True):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert found.sharding.is_equivalent_to(expected.sharding, expected.ndim)


@pytest.mark.slow
def test_a_program_compiled_from_shapes_runs_on_the_real_arrays():
    config = make_config(**{"model.dtype": "float32", "d_steps": 1, "model.discriminator_channels": (1,)})
    replicas = Replicas("shard_map", jax.devices()[:2])
    call = make_call(make_update(config, AXIS, unroll=True), replicas, unroll=True)
    compiled = call.lower(*abstract_arguments(config, replicas)).compile()
    state = replicas.put_state(make_state(config, make_optimizers(config.optimizer)))
    batch = {name: x[None] for name, x in make_batch(config, 0).items()}
    state, (numbers, wish) = jax.block_until_ready(
        compiled(state, (replicas.put_batch(batch), replicas.put_scalar(9)))
    )
    assert int(state.step) == 1 and int(wish) == 9
    assert numbers["d_loss"].shape == (1,) and np.isfinite(numbers["d_loss"]).all()
