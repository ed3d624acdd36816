"""Measures of the blind spots of the Inception Score that need features and logits alone."""

from typing import NamedTuple

from biggan_jax.evaluation.scores.diversity import Diversity, diversity
from biggan_jax.evaluation.scores.features import ExtractedFeatures
from biggan_jax.evaluation.scores.label_fit import LabelFit, label_fit
from biggan_jax.evaluation.scores.memorisation import Memorisation, memorisation


class Findings(NamedTuple):
    """The measures; None for a measure whose inputs are missing.

    Attributes:
      label_fit: Blind spots 1 and 2.
      diversity: Blind spot 4.
      memorisation: Blind spot 5.
    """

    label_fit: LabelFit | None = None
    diversity: Diversity | None = None
    memorisation: Memorisation | None = None


def measure_blind_spots(
    training: ExtractedFeatures, held_out: ExtractedFeatures | None, samples: ExtractedFeatures, classes: int
) -> Findings:
    """Measures blind spots 1, 2, 4 and 5.

    Args:
      training: Real images that the generator learns from.
      held_out: Held-out images, or None. A network that has learnt the training images needs held-out images.
      samples: Samples of the generator.
      classes: Number of classes of the reference.
    """
    # The classifier is surer of images that it has learnt than of others.
    real = held_out or training
    labels = variety = memory = None
    if samples.logits is not None and real.logits is not None and real.labels is not None:
        labels = label_fit(real.logits, real.labels, samples.logits)
    if samples.labels is not None and real.labels is not None:
        variety = diversity(real.features, real.labels, samples.features, samples.labels, classes)
    if held_out is not None:
        memory = memorisation(training.features, samples.features, held_out.features)
    return Findings(labels, variety, memory)
