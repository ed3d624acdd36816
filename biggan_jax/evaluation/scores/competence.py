"""Competence of a feature network: whether scores by it are meaningful.

A classifier whose data has one class, or that has learnt nothing, still gives recognition, IS and FID. They
say nothing about the samples. The test is on held-out images: the classifier must recognise more of them than
a guess of the most frequent class, and its loss must be below that of a guess by the frequencies of the
classes.
"""

import dataclasses
import math

import numpy as np
import scipy.special

from biggan_jax.evaluation.scores.formats import percent
from biggan_jax.evaluation.scores.moments import FeatureStatistics

CHANCE = 0.01  # probability that a guess of the most frequent class does as well; above it nothing is learnt
NO_VARIANCE = 1e-12  # of the features, relative to their mean square: that of equal features is rounding


@dataclasses.dataclass(frozen=True)
class ClassifierTest:
    """The result of a classifier on held-out images, beside that of a guess. NaN where it was not tested.

    Attributes:
      images: Number of held-out images.
      accuracy: Share of them that the classifier recognises.
      majority_share: Share of the most frequent class, the accuracy of the best constant guess.
      loss: Mean cross-entropy of the classifier in nats.
      guess_loss: Entropy of the frequencies of the classes, the loss of the best guess without an image.
    """

    images: int = 0
    accuracy: float = math.nan
    majority_share: float = math.nan
    loss: float = math.nan
    guess_loss: float = math.nan

    def fault(self, num_classes: int) -> str | None:
        """Returns the reason why scores by the classifier are not meaningful; None if they are.

        Args:
          num_classes: Number of classes of its data.
        """
        if num_classes < 2:
            return "the data has one class, from which a classifier learns nothing"
        if not self.images:
            return "the classifier was not tested on held-out images"
        right = round(self.accuracy * self.images)
        # The tail of the binomial distribution: the probability that the guess has as many right.
        if scipy.special.bdtrc(right - 1, self.images, self.majority_share) > CHANCE:
            return (
                f"the classifier has learnt nothing: it recognises {percent(self.accuracy)} of the "
                f"{self.images:,} held-out images, and a guess of the most frequent class is right for "
                f"{percent(self.majority_share)}"
            )
        if not self.loss < self.guess_loss:
            return (
                f"the classifier has learnt nothing: its loss on the {self.images:,} held-out images is "
                f"{self.loss:.2f}, and a guess by the frequencies of the classes has {self.guess_loss:.2f}"
            )
        return None


def measure_classifier(logits: np.ndarray, labels: np.ndarray) -> ClassifierTest:
    """Computes the result of a classifier.

    Args:
      logits: Logits for held-out images, f[N, classes].
      labels: Their labels, i[N].
    """
    frequencies = np.bincount(labels) / len(labels)
    log_probabilities = scipy.special.log_softmax(np.float64(logits), axis=1)
    return ClassifierTest(
        images=len(labels),
        accuracy=float((logits.argmax(axis=1) == labels).mean()),
        majority_share=float(frequencies.max()),
        loss=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        guess_loss=float(scipy.special.entr(frequencies).sum()),
    )


def fault_of_features(statistics: FeatureStatistics) -> str | None:
    """Returns the reason why scores by a network are not meaningful; None if they are.

    Args:
      statistics: Mean and covariance of the features of real images.
    """
    if np.trace(statistics.covariance) <= NO_VARIANCE * (statistics.mean @ statistics.mean):
        return "the network has the same features for all real images"
    return None
