"""Makes the report of an evaluation and draws its pictures."""

import numpy as np
from PIL import Image

from biggan_jax.evaluation.assessment import Assessment, Comparison
from biggan_jax.evaluation.image_sets import RealImages
from biggan_jax.evaluation.networks.classifier import Classifier
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.reference import Reference
from biggan_jax.evaluation.report import blind_spots, pictures
from biggan_jax.evaluation.report.schema import (
    ClassifierSummary,
    NearestPair,
    ReferenceSummary,
    Report,
    TruncationPoint,
)
from biggan_jax.evaluation.report.truncation_curve import plot
from biggan_jax.evaluation.request import EvaluationRequest
from biggan_jax.evaluation.sample_sources import SampleSet, SampleSource
from biggan_jax.sampling.sheets import png

ROWS, COLUMNS = 8, 10  # of the picture of samples from a file


def make_report(
    request: EvaluationRequest,
    reference: Reference | None,
    comparison: Comparison,
    samples: SampleSet,
    network: FeatureNetwork,
    classifier: Classifier | None,
    assessment: Assessment,
    curve: list[TruncationPoint],
) -> Report:
    """Makes the report.

    Args:
      request: The request.
      reference: Real images, or None for a file of statistics.
      comparison: Extracted features.
      samples: The samples.
      network: Feature network.
      classifier: The classifier, if it is the feature network.
      assessment: Scores and sections.
      curve: Scores at other truncations.
    """
    summary = None
    if classifier:
        summary = ClassifierSummary(
            hash=classifier.hash,
            resolution=classifier.resolution,
            test_accuracy=classifier.test.accuracy,
            test_images=classifier.test.images,
            test_loss=classifier.test.loss,
            majority_share=classifier.test.majority_share,
            guess_loss=classifier.test.guess_loss,
        )
    pairs = blind_spots.suspicious_pairs(assessment.memorisation) if assessment.memorisation else []
    return Report(
        samples=samples.origin,
        network=network.identity,
        reference=_summarise(request, reference, comparison),
        scores=assessment.scores,
        notes=assessment.notes,
        blind_spots=assessment.blind_spots,
        nearest=[NearestPair(*pair) for pair in pairs],
        classes=assessment.classes,
        confusion=assessment.confusion,
        truncations=curve,
        classifier=summary,
    )


def _summarise(
    request: EvaluationRequest, reference: Reference | None, comparison: Comparison
) -> ReferenceSummary:
    if reference is None or comparison.training is None:
        return ReferenceSummary(source=request.reference or "", images=comparison.statistics.count)
    return ReferenceSummary(
        source=reference.training.name,
        training=reference.training.description,
        images=len(comparison.training),
        held_out=reference.held_out.description if reference.held_out else None,
        held_out_images=len(comparison.held_out) if comparison.held_out else 0,
    )


def draw_pictures(
    request: EvaluationRequest,
    reference: Reference | None,
    samples: SampleSet,
    source: SampleSource | None,
    report: Report,
) -> dict[str, bytes]:
    """Draws the pictures of the report.

    Args:
      request: The request.
      reference: Real images, or None for a file of statistics.
      samples: The samples.
      source: Generator of the samples, or None for samples from a file.
      report: The report.

    Returns:
      PNG files by name.
    """
    drawn: dict[str, Image.Image] = {}
    rows, columns = (source.rows, source.columns) if source else (ROWS, COLUMNS)
    shown = pictures.shown_classes(report.classes, columns)
    if shown:
        labels = samples.images.labels
        numbers = [np.flatnonzero(labels == label)[:rows].tolist() for label in shown]
        images = samples.images.at([number for row in zip(*numbers, strict=False) for number in row])
        images = images.reshape(-1, len(shown), *images.shape[1:])
        drawn["evaluation.png"] = pictures.samples_by_class(images, shown, report)
    if report.nearest and reference:
        indices, nearest, distances = zip(*report.nearest, strict=True)
        training = RealImages(reference.training, request.reference_images)
        both = np.stack([samples.images.at(indices), training.at(nearest)])
        (section,) = (section for section in report.blind_spots if section.number == blind_spots.MEMORISATION)
        drawn["nearest.png"] = pictures.nearest_sheet(both, bool(section.details["suspicious"]), distances)
    files = {name: png(picture) for name, picture in drawn.items()}
    if report.truncations:
        files["truncations.png"] = plot(report.truncations, report.network.network)
    return files
