"""Dividing published weights by the σ that their own code would divide them by."""

from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import TrainedNetwork

COLOURS = 3


def freeze(network: TrainedNetwork, sigmas: Mapping[str, float], source: str) -> tuple[Tree, TrainedNetwork]:
    """Divides a generator's weights, and cuts its last convolution down to the three outputs that are used.

    The deep generators were published with as many outputs as channels there, and σ is that of all of them.
    Of what is to be trained further, whose σ will be that of three, the last batch norm takes the difference:
    between it and the convolution is only a ReLU, which a positive factor passes.

    Args:
      network: as the file has it.
      sigmas: by the weight's path.
      source: what errors call the file.

    Returns:
      The divided parameters, and the network to train.

    Raises:
      UserError: a σ that nothing can be divided by.
    """
    if broken := [path for path, sigma in sigmas.items() if not np.isfinite(sigma) or sigma == 0]:
        raise UserError(
            f"{source}: spectral norm finds no scale for {', '.join(sorted(broken)[:12])}: the weight or its "
            "vectors are zero; get the file again"
        )
    trained = flatten_dict(network.params, sep="/")
    frozen = dict(trained)
    for path, sigma in sigmas.items():
        frozen[path] = (trained[path] / sigma).astype(np.float32)

    kernel, u = trained["conv/kernel"][..., :COLOURS], dict(network.u)
    for leaves in (frozen, trained):
        leaves["conv/kernel"], leaves["conv/bias"] = (
            leaves[path][..., :COLOURS] for path in ("conv/kernel", "conv/bias")
        )
    if len(u["conv/kernel"]) > COLOURS:
        matrix = kernel.reshape(-1, COLOURS).astype(np.float64)
        squares, vectors = np.linalg.eigh(matrix.T @ matrix)
        u["conv/kernel"] = vectors[:, -1].astype(np.float32)
        sigma = sigmas["conv/kernel"]
        for path in ("norm/gain", "norm/bias"):
            trained[path] = (trained[path] * np.sqrt(squares[-1]) / sigma).astype(np.float32)
    return unflatten_dict(frozen, sep="/"), TrainedNetwork(unflatten_dict(trained, sep="/"), u)
