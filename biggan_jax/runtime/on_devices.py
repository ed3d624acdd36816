"""A network on all devices of one process, each with its part of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def on_all_devices(apply: Callable[..., Any], variables: Any) -> Callable[[np.ndarray], Any]:
    """`apply(variables, images)` as a function of the images, compiled, with `variables` on each device.

    Other processes of a run have no part in it: each looks at images of its own.

    Args:
      apply: a pure function of both, whose outputs have a row for each image.
      variables: its weights.

    Returns:
      A function of images `[N, …]`, where the number of this process's devices divides N.
    """
    mesh = Mesh(np.array(jax.local_devices()), ("replica",))
    copied, split = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("replica")))
    compiled = jax.jit(apply, in_shardings=(copied, split), out_shardings=split)
    variables = jax.device_put(variables, copied)
    # Put there first: of several processes, jit takes no NumPy array that is to be split.
    return lambda images: compiled(variables, jax.device_put(images, split))
