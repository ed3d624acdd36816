"""Memory that runs out becomes one line with the remedy; other errors keep their traceback."""

import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.memory import enough_memory
from biggan_jax.training.run.footprint import smaller


def test_a_device_and_a_host_without_memory_are_named_with_the_remedy():
    with pytest.raises(UserError, match=r"^the device is out of memory \(Out of .* bytes\.\): lower it$"):
        with enough_memory(lambda: "lower it"):
            jnp.zeros(10**13).block_until_ready()
    with pytest.raises(
        UserError, match=r"^this machine is out of memory \(Unable to allocate .*\): lower it$"
    ):
        with enough_memory(lambda: "lower it"):
            np.zeros(10**15)
    with pytest.raises(UserError, match=r"^this machine is out of memory: lower it$"):
        with enough_memory(lambda: "lower it"):
            raise MemoryError


@pytest.mark.parametrize(
    "error", [OSError(28, "RESOURCE_EXHAUSTED: No space left"), ValueError("Out of memory")]
)
def test_errors_of_other_things_that_run_out_pass(error):
    with pytest.raises(type(error)) as passed, enough_memory(lambda: "lower it"):
        raise error
    assert passed.value is error


def test_a_run_is_told_the_changes_that_it_has_not_made_yet():
    config = default_config()
    config.update(batch_size=64, micro_batches=2)
    config.model.update(dtype="float32", remat=False)
    assert smaller(config) == (
        "raise config.micro_batches (now 2), set config.model.remat=True, set config.model.dtype='bfloat16', "
        "or lower config.batch_size (now 64)"
    )
    config.model.update(dtype="bfloat16", remat=True)
    assert smaller(config) == "raise config.micro_batches (now 2), or lower config.batch_size (now 64)"
