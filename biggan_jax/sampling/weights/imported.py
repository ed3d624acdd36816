"""What reading published weights gives: a network of this package, its statistics, and their origin."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from biggan_jax.cli import UserError
from biggan_jax.models.spectral_norm import Tree

COLOURS = 3


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as it is trained: weights not yet divided by their σ.

    Attributes:
      params: the flax parameters, float32.
      u: spectral norm's vector of each weight, by the weight's path ("block_0/conv_1/kernel").
    """

    params: Tree
    u: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where weights come from.

    Attributes:
      format: its name, such as "huggingface".
      files: the name and the SHA-256 of each file that was read.
    """

    format: str
    files: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Imported:
    """A generator that is ready to draw.

    Attributes:
      model: the `model` section of a config; `make_generator(model)` is the network.
      params: its parameters, every weight divided by its σ as the file's own code would divide it.
      statistics: batch norm's standing statistics (flax collection) by truncation; none if the file has none.
      truncation_kind: how those truncations are meant. "scale": z = t · (a normal cut off at ±2), as with the
        published modules, and 0 is z = 0. "threshold": a normal cut off at ±t, as in the paper and in
        `sampling.latents`, and 0 is a normal that is not cut off.
      generator: the same network for training to go on from.
      discriminator: its opponent, or None.
      provenance: the format and the files.
    """

    model: ConfigDict
    params: Tree
    statistics: dict[float, Tree]
    truncation_kind: Literal["scale", "threshold"]
    generator: Network
    discriminator: Network | None
    provenance: Provenance

    @property
    def num_classes(self) -> int:
        return self.model.num_classes


def freeze(network: Network, sigmas: Mapping[str, float], source: str) -> tuple[Tree, Network]:
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
    return unflatten_dict(frozen, sep="/"), Network(unflatten_dict(trained, sep="/"), u)
