"""The inputs of every score, and its result."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from biggan_jax.evaluation.scores.features import ExtractedFeatures
from biggan_jax.evaluation.scores.findings import Findings
from biggan_jax.evaluation.scores.manifold import Manifold, manifold
from biggan_jax.evaluation.scores.moments import FeatureStatistics, feature_statistics

MANIFOLD_IMAGES = 10_000  # of each set: distances of all pairs are computed


@dataclasses.dataclass(frozen=True)
class Score:
    """The result of a score.

    Attributes:
      value: The number; None if it is not finite.
      details: Further numbers and words by name, as in evaluation.json.
      held_out: The same score for held-out images in place of the samples, or None.
    """

    value: float | None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    held_out: "Score | None" = None

    @classmethod
    def make(cls, value: float, held_out: "Score | None" = None, **details: Any) -> "Score":
        """Makes a score from numbers that may be NumPy's or not finite."""
        return cls(strict_json(value), strict_json(details), held_out)

    @classmethod
    def refused(cls, reason: str) -> "Score":
        """Makes the score of a network whose scores are not meaningful."""
        return cls(None, {"meaningful": False, "reason": reason})

    @property
    def is_refused(self) -> bool:
        """Whether the network's scores are not meaningful, so that the score has no value."""
        return "reason" in self.details


@dataclasses.dataclass(frozen=True)
class ClassificationAccuracy:
    """The accuracy on held-out images of a classifier that was trained on samples alone (CAS).

    Attributes:
      accuracy: Share of held-out images that the classifier recognises.
      count: Number of samples that it was trained on.
      test_images: Number of held-out images.
      weights_hash: Hash of its weights.
      real: The same for a classifier that was trained on real images, or None.
    """

    accuracy: float
    count: int
    test_images: int
    weights_hash: str
    real: "ClassificationAccuracy | None" = None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ScoreInputs:
    """The inputs of every score; a score without its inputs returns None.

    Attributes:
      samples: Features, logits and requested classes of the samples.
      reference_statistics: Mean and covariance of the features of the training images.
      reference: Features, logits and labels of the training images; None if only their statistics are known.
      held_out: Features, logits and labels of held-out images, or None.
      num_classes: Number of classes of the reference.
      recognises: Whether the network was trained on the classes of the reference.
      fault: Reason why scores by the network are not meaningful, or None.
      findings: Measures of the blind spots of the Inception Score.
      classification_accuracy: Result of the classifier that was trained on the samples, or None.
    """

    samples: ExtractedFeatures
    reference_statistics: FeatureStatistics
    reference: ExtractedFeatures | None = None
    held_out: ExtractedFeatures | None = None
    num_classes: int = 0
    recognises: bool = False
    fault: str | None = None
    findings: Findings = Findings()
    classification_accuracy: ClassificationAccuracy | None = None

    @functools.cached_property
    def sample_statistics(self) -> FeatureStatistics:
        """Mean and covariance of the features of the samples."""
        return feature_statistics(self.samples.features)

    @functools.cached_property
    def overlap(self) -> Manifold | None:
        """Overlap of equally many samples and training images; None without training images."""
        if self.reference is None:
            return None
        random = np.random.default_rng(0)
        count = min(len(self.reference), len(self.samples), MANIFOLD_IMAGES)
        real, samples = (
            features if len(features) == count else features[random.permutation(len(features))[:count]]
            for features in (self.reference.features, self.samples.features)
        )
        return manifold(real, samples)

    def with_held_out_as_samples(self) -> "ScoreInputs | None":
        """Returns the inputs with held-out images in place of the samples; None without held-out images."""
        if self.held_out is None:
            return None
        return dataclasses.replace(
            self, samples=self.held_out, findings=Findings(), classification_accuracy=None
        )


def strict_json(value: Any) -> Any:
    """Converts a value for strict JSON: lists for arrays and tuples, Python numbers, None for NaN and ∞."""
    if isinstance(value, Mapping):
        return {key: strict_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [strict_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
