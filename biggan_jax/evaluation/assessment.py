"""The assessment of samples: scores, and a section per blind spot, from the extracted features."""

import dataclasses
from typing import NamedTuple

import numpy as np

from biggan_jax.evaluation import scoring
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.reference import Reference
from biggan_jax.evaluation.report import blind_spots
from biggan_jax.evaluation.report.schema import BlindSpot, ClassRow
from biggan_jax.evaluation.scores import measures
from biggan_jax.evaluation.scores.competence import fault_of_features
from biggan_jax.evaluation.scores.features import ExtractedFeatures
from biggan_jax.evaluation.scores.findings import Findings, measure_blind_spots
from biggan_jax.evaluation.scores.inputs import ClassificationAccuracy, Score, ScoreInputs
from biggan_jax.evaluation.scores.memorisation import Memorisation
from biggan_jax.evaluation.scores.moments import FeatureStatistics
from biggan_jax.evaluation.shuffled_patches import MOST, ShuffledPatches


class Comparison(NamedTuple):
    """Extracted features of the samples and of the images that they are compared with.

    Attributes:
      statistics: Mean and covariance of the features of the training images.
      training: Features of the training images; None if only their statistics are known.
      held_out: Features of held-out images, or None.
      samples: Features of the samples.
      shuffled_patches: Sensitivity to shuffled patches, or the reason why it was not measured.
    """

    statistics: FeatureStatistics
    training: ExtractedFeatures | None
    held_out: ExtractedFeatures | None
    samples: ExtractedFeatures
    shuffled_patches: ShuffledPatches | str


class Assessment(NamedTuple):
    """The assessment of samples.

    Attributes:
      scores: Scores by full name.
      notes: Warnings to the reader.
      blind_spots: A section per blind spot of the Inception Score.
      classes: A row per class.
      confusion: Counts by requested and predicted class, or None.
      memorisation: The samples nearest to training images, or None.
    """

    scores: dict[str, Score]
    notes: list[str]
    blind_spots: list[BlindSpot]
    classes: list[ClassRow]
    confusion: list[list[int]] | None
    memorisation: Memorisation | None


def fault_of(network: FeatureNetwork, reference: FeatureStatistics) -> str | None:
    """Returns the reason why scores by a network are not meaningful; None if they are.

    Args:
      network: Feature network.
      reference: Statistics of its features of real images.
    """
    return network.fault or fault_of_features(reference)


def assess_by_statistics(comparison: Comparison, network: str, fault: str | None = None) -> Assessment:
    """Assesses samples against a reference without images.

    Args:
      comparison: Features of the samples, and statistics of the reference.
      network: Name of the feature network.
      fault: Reason why scores by it are not meaningful, or None.
    """
    inputs = ScoreInputs(samples=comparison.samples, reference_statistics=comparison.statistics, fault=fault)
    scores = scoring.compute_scores(inputs, network)
    notes = ["The reference is a file of statistics without images: only FID and IS can be computed."]
    reasons = dict.fromkeys(blind_spots.TITLES, "the reference has statistics but no images")
    sections = blind_spots.sections(Findings(), None, network, (), 0, "", "", reasons)
    return Assessment(scores, notes + _warnings(scores, network, fault), sections, [], None, None)


def assess(
    comparison: Comparison,
    reference: Reference,
    network: str,
    recognises: bool,
    classification_accuracy: ClassificationAccuracy | None = None,
    fault: str | None = None,
) -> Assessment:
    """Assesses samples against a reference with images.

    Args:
      comparison: Features of the samples and of the reference.
      reference: Data sources of the reference.
      network: Name of the feature network.
      recognises: Whether the network was trained on the training images and classes of the reference.
      classification_accuracy: Result of the classifier that was trained on the samples, or None.
      fault: Reason why scores by the network are not meaningful, or None.
    """
    training, held_out, samples = comparison.training, comparison.held_out, comparison.samples
    assert training is not None
    real = held_out or training
    names, notes = reference.training.class_names, []
    if samples.labels is not None and samples.labels.max() >= len(names):
        samples = dataclasses.replace(samples, labels=None)
        notes.append(
            f"The generator has more classes than {reference.training.name}: scores by class are left out."
        )
    findings = Findings() if fault else measure_blind_spots(training, held_out, samples, len(names))
    inputs = ScoreInputs(
        samples=samples,
        reference_statistics=comparison.statistics,
        reference=training,
        held_out=held_out,
        num_classes=len(names),
        recognises=recognises,
        fault=fault,
        findings=findings,
        classification_accuracy=classification_accuracy,
    )
    scores = scoring.compute_scores(inputs, network)
    counts = None if fault else measures.confusion(inputs)

    reasons = dict.fromkeys(blind_spots.TITLES, "the reference has no held-out images")
    shuffled: ShuffledPatches | None = None
    if isinstance(comparison.shuffled_patches, str):
        reasons[3] = comparison.shuffled_patches
    else:
        shuffled = comparison.shuffled_patches
    if samples.logits is None:
        reasons |= dict.fromkeys((1, 2), f"{network} has no logits")
        notes.append(f"{network} has no logits, so IS cannot be computed.")
    if samples.labels is None:
        reasons[4] = "the samples have no labels of these classes"
    if fault:
        shuffled, reasons = None, dict.fromkeys(blind_spots.TITLES, fault)
    sections = blind_spots.sections(
        findings,
        shuffled,
        network,
        names,
        present=0 if real.labels is None else len(np.unique(real.labels)),
        searched=_searched(len(training), reference.training.num_examples),
        compared=_compared(training, held_out, samples),
        reasons=reasons,
    )
    return Assessment(
        scores,
        notes + _warnings(scores, network, fault),
        sections,
        scoring.class_rows(inputs, network, tuple(names)),
        None if counts is None else counts.tolist(),
        findings.memorisation,
    )


def _warnings(scores: dict[str, Score], network: str, fault: str | None) -> list[str]:
    if fault:
        return [
            f"Scores by {network} are not meaningful: {fault}. Choose another network, --network=inception "
            "or your own by --network=module:function."
        ]
    flagged = [score.details for score in scores.values() if score.details.get("flagged")]
    fid = scores[f"fid@{network}"].details
    return [details["sentence"] for details in ([fid] if fid["too_few"] else []) + flagged]


def _searched(count: int, total: int) -> str:
    if count < total:
        return f"{count:,} of the {total:,} training images"
    return f"the {total:,} training images"


def _compared(
    training: ExtractedFeatures, held_out: ExtractedFeatures | None, samples: ExtractedFeatures
) -> str:
    """Explains why section 3 has another FID of the samples than the table of scores."""
    real, kind = (held_out, "held-out") if held_out else (training, "training")
    return (
        f"The FIDs of this section compare {min(len(samples), MOST):,} samples with {min(len(real), MOST):,} "
        f"{kind} images; the FID of the table compares {len(samples):,} samples with {len(training):,} "
        "training images."
    )
