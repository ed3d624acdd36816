"""The request for an evaluation."""

import dataclasses
from pathlib import Path
from typing import Literal

from etils import epath


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """The request for an evaluation: the flags of `biggan_jax.evaluate`.

    Exactly one of `workdir`, `weights` and `samples` is given.

    Attributes:
      workdir: Directory of a run.
      weights: Folder of an export.
      samples: File of samples.
      step: Step of the checkpoint, "best" for the best checkpoint, or None for the newest.
      reference: Data source or file of statistics; None takes the data of the run.
      network: `classifier`, or a name as for `feature_network.open_feature_network`.
      num_samples: Number of samples over all classes.
      truncation: Truncation of the latents; None for untruncated latents.
      truncations: Further truncations, for the curve.
      seed: Seed of the latents.
      train_split: Split that the generator learns from; None takes the split of the run.
      test_split: Split of held-out images; None takes one that the reference has.
      reference_images: Largest number of training images and of held-out images; 0 takes all.
      cas: Whether to train a classifier on the samples.
      folder: Directory of the results; its subdirectory `evaluation` keeps the classifier.
      save_samples: Path to write the samples to, or None.
      save_statistics: Path to write the statistics of the real images to, or None.
      allow_changes: Whether to compare with other images than the generator has learnt from.
    """

    workdir: epath.Path | None = None
    weights: Path | None = None
    samples: Path | None = None
    step: int | Literal["best"] | None = None
    reference: str | None = None
    network: str = "classifier"
    num_samples: int = 2_000
    truncation: float | None = None
    truncations: tuple[float, ...] = ()
    seed: int = 0
    train_split: str | None = None
    test_split: str | None = None
    reference_images: int = 50_000
    cas: bool = False
    folder: epath.Path
    save_samples: Path | None = None
    save_statistics: Path | None = None
    allow_changes: bool = False
