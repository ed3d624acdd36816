"""What an export holds: a generator that needs nothing else to draw, and what is known of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from biggan_jax.models.spectral_norm import Tree
from biggan_jax.sampling.truncation import TruncationKind


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network as it is trained: weights not yet divided by their σ.

    Attributes:
      params: the flax parameters, float32.
      u: spectral norm's vector of each weight, by the weight's path ("block_0/conv_1/kernel").
    """

    params: Tree
    u: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedGenerator:
    """A generator that is ready to draw.

    Attributes:
      model: the `model` section of a config; `make_generator(model)` is the network.
      params: its parameters, every weight divided by its σ.
      statistics: batch norm's standing statistics (flax collection) by truncation; none if a file had none.
      truncation_kind: how truncations are meant, see `sampling.truncation`.
      class_names: one for each label, or none if they are not known.
      provenance: what it came of, as JSON: `format`, and files, step, data set, scores where there are such.
      generator: the same network for training to go on from, or None.
      discriminator: its opponent, or None.
    """

    model: ConfigDict
    params: Tree
    statistics: Mapping[float, Tree]
    truncation_kind: TruncationKind
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    generator: TrainedNetwork | None = None
    discriminator: TrainedNetwork | None = None
