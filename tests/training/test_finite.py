"""The check before a checkpoint: whatever part of a state is not finite is named."""

import jax
import jax.numpy as jnp
import pytest
from tiny_runs import make_config

from biggan_jax.training.step.finite import not_finite
from biggan_jax.training.step.state import abstract_state

PARTS = {
    "generator.params": "G's parameters",
    "generator.u": "G's vectors of spectral norm",
    "generator.opt_state": "G's moments",
    "discriminator.params": "D's parameters",
    "discriminator.u": "D's vectors of spectral norm",
    "discriminator.opt_state": "D's moments",
    "ema_params": "the average of G's parameters",
    "logit_averages": "the averages of D's logits",
}


@pytest.fixture(scope="module")
def zeros():
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), abstract_state(make_config()))


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_one_number_that_is_not_finite_is_named_with_its_part_and_no_other(zeros, value):
    assert not_finite(zeros) == ""
    leaves, tree = jax.tree.flatten(zeros)
    names = [jax.tree_util.keystr(path).lstrip(".") for path, _ in jax.tree.leaves_with_path(zeros)]
    floats = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    for prefix, part in PARTS.items():
        last = [i for i in floats if names[i].startswith(prefix)][-1]
        broken = leaves[last].ravel().at[-1].set(value).reshape(leaves[last].shape)
        assert not_finite(jax.tree.unflatten(tree, [*leaves[:last], broken, *leaves[last + 1 :]])) == part
