"""Content of an export: a generator with all that sampling needs, and its origin."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from biggan_jax.models.spectral_norm import Tree
from biggan_jax.sampling.truncation import TruncationKind


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network as training holds it: its weights are not divided by their σ.

    Attributes:
      params: Flax parameters, float32.
      u: Spectral norm's vector of each weight, by the path of the weight ("block_0/conv_1/kernel").
    """

    params: Tree
    u: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedGenerator:
    """A generator frozen for sampling, with the trained networks if training can continue from it.

    Attributes:
      model: `model` section of a config; `make_generator(model)` builds the network.
      params: Parameters, every weight divided by its σ.
      statistics: Standing statistics of batch norm (a Flax collection) by truncation; empty if unknown.
      truncation_kind: Meaning of the truncations, see `sampling.truncation`.
      class_names: One name for each label, or none if the names are unknown.
      provenance: Origin as JSON: `format`, and files, step, data set and scores if known.
      generator: The same network for further training, or None.
      discriminator: Its discriminator, or None.
    """

    model: ConfigDict
    params: Tree
    statistics: Mapping[float, Tree]
    truncation_kind: TruncationKind
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    generator: TrainedNetwork | None = None
    discriminator: TrainedNetwork | None = None
