"""Division of published weights by the σ that their own code divides them by."""

from collections.abc import Mapping

import numpy as np

from biggan_jax.models.parameter_tree import Tree, flatten, unflatten
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import TrainedNetwork

COLOURS = 3


def freeze(network: TrainedNetwork, sigmas: Mapping[str, float], source: str) -> tuple[Tree, TrainedNetwork]:
    """Divides the weights of a generator by their σ, and reduces its last convolution to three outputs.

    The deep generators were published with as many outputs as channels in that convolution, and their σ
    belongs to all outputs. Further training computes the σ of three outputs. In the network for training, the
    last batch norm is scaled by the ratio: only a ReLU separates it from the convolution, and a positive
    factor passes a ReLU.

    Args:
      network: Network of the file.
      sigmas: σ by the path of the weight.
      source: Name of the file in errors.

    Returns:
      The divided parameters, and the network for further training.

    Raises:
      UserError: If a σ is zero or not finite.
    """
    if broken := [path for path, sigma in sigmas.items() if not np.isfinite(sigma) or sigma == 0]:
        raise UserError(
            f"{source}: spectral norm has no scale for {', '.join(sorted(broken)[:12])}: the weight or its "
            "vectors are zero; get the file again"
        )
    trained = flatten(network.params)
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
    return unflatten(frozen), TrainedNetwork(unflatten(trained), u)
