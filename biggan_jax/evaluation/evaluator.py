"""Evaluates the samples of a run, an export or a file, and reports the result."""

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from etils import epath
from PIL import Image
from rich.console import Console

from biggan_jax.evaluation import scoring, shuffled_patches
from biggan_jax.evaluation.assessment import Assessment, Comparison, assess, assess_by_statistics
from biggan_jax.evaluation.classification_accuracy import (
    measure_classification_accuracy,
    refuse_impossible_accuracy,
)
from biggan_jax.evaluation.image_sets import RealImages, gather_images, refuse_too_many
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.reference import Reference, open_network, open_reference
from biggan_jax.evaluation.report import blind_spots, pictures
from biggan_jax.evaluation.report.schema import (
    ClassifierSummary,
    NearestPair,
    ReferenceSummary,
    Report,
    TruncationPoint,
)
from biggan_jax.evaluation.report.truncation_curve import plot, truncation_curve
from biggan_jax.evaluation.sample_sources import (
    SampleSet,
    SampleSource,
    open_export,
    open_file,
    open_run,
    refuse_other_labels,
)
from biggan_jax.evaluation.scores.moments import feature_statistics
from biggan_jax.evaluation.scores.statistics_file import read_statistics, write_statistics
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sample_file import write_samples
from biggan_jax.sampling.sheets import png
from biggan_jax.sampling.truncation import refuse_impossible

ROWS, COLUMNS = 8, 10  # of the picture of samples from a file


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


class EvaluationResult(NamedTuple):
    """The result of an evaluation.

    Attributes:
      report: Contents of evaluation.json.
      pictures: PNG files by name.
    """

    report: Report
    pictures: dict[str, bytes]


def evaluate(request: EvaluationRequest, console: Console) -> EvaluationResult | None:
    """Evaluates samples. All processes take part, and the first returns the result.

    Args:
      request: The samples and the method.
      console: Console for messages and progress bars.

    Raises:
      UserError: The run, checkpoint, file, data or weights are missing or do not fit, the samples are too
        few, or a folder cannot be written.
    """
    first = jax.process_index() == 0
    source, samples = _open_samples(request)
    _refuse_impossible(request, source)
    resolution = source.model.resolution if source else samples.origin.resolution
    reference = _open_reference(request, source, resolution)
    if request.cas:
        refuse_impossible_accuracy(samples is None or samples.images.labelled, reference)
    if source is None and reference:
        classes = reference.training.num_classes
        refuse_other_labels(request.samples, samples.images.labels, classes, reference.training.name)
    num_classes = _num_classes(request, source, reference) if source else 0
    settings = ClassifierSettings(random_flip=bool(source and source.random_flip))
    network, classifier = open_network(
        request.network,
        reference,
        resolution,
        request.folder / "evaluation" if first else None,
        settings,
        console,
    )
    if source:
        console.print(f"generating {request.num_samples:,} samples of {source.description}")
        samples = source.generate(request.num_samples, num_classes, request.truncation, request.seed)

    keep = request.cas or request.save_samples is not None
    if keep:
        refuse_too_many(samples.images)
    comparison = _extract(request, reference, samples, network, console)
    curve = []
    if source:
        curve = truncation_curve(
            network,
            samples.at_truncation,
            request.truncations,
            comparison.statistics,
            source.truncation_kind,
            console,
        )
    kept = gather_images(samples.images) if keep else None
    if not first:
        return None
    if request.save_samples:
        write_samples(request.save_samples, *kept)
    if request.save_statistics:
        write_statistics(request.save_statistics, comparison.statistics, _signature(network))
    accuracy = None
    if request.cas:
        accuracy = measure_classification_accuracy(
            *kept, reference, request.reference_images, settings, classifier, console
        )
    if reference:
        assessment = assess(
            comparison, reference, network.name, classifier is not None, classification_accuracy=accuracy
        )
    else:
        assessment = assess_by_statistics(comparison, network.name)
    report = _report(request, reference, comparison, samples, network, classifier, assessment, curve)
    return EvaluationResult(report, _pictures(request, reference, samples, source, report))


def _open_samples(request: EvaluationRequest) -> tuple[SampleSource | None, SampleSet | None]:
    """Opens the generator, or reads the samples of a file."""
    if request.workdir:
        return open_run(request.workdir, request.step), None
    if request.weights:
        return open_export(request.weights), None
    return None, open_file(request.samples)


def _refuse_impossible(request: EvaluationRequest, source: SampleSource | None) -> None:
    if request.samples and request.save_samples:
        raise UserError(
            f"--save_samples={request.save_samples}: the samples are in {request.samples} already"
        )
    given = [("truncation", request.truncation)] if request.truncation is not None else []
    for name, value in given + [("truncations", value) for value in request.truncations]:
        if source is None:
            raise UserError(
                f"--{name}={value:g}: the samples of a file cannot be truncated; leave --{name} out"
            )
        refuse_impossible(source.truncation_kind, value, source.model.latent_distribution)


def _open_reference(
    request: EvaluationRequest, source: SampleSource | None, resolution: int
) -> Reference | None:
    """Opens the real images; returns None for a file of statistics."""
    own = request.reference is None
    if own and not (source and source.data_source):
        given = f"--weights={request.weights}" if source else f"--samples={request.samples}"
        raise UserError(
            f"{given}: name real images to compare with: --reference=SOURCE, such as fashion_mnist or "
            "folder:PATH, or --reference=FILE.npz"
        )
    if not own and request.reference.endswith(".npz"):
        return None
    try:
        reference = open_reference(
            source.data_source if own else request.reference,
            resolution,
            source.model.num_classes if own else None,
            request.train_split or (source.split if own else "train"),
            request.test_split,
        )
    except UserError as error:
        if source:
            raise
        raise UserError(f"to compare with the {resolution} px of {request.samples}: {error}") from error
    held_out = reference.held_out
    if held_out and held_out.num_examples < scoring.LEAST_TO_COMPARE:
        raise UserError(
            f"{held_out.name} has {held_out.num_examples} held-out images, too few to compare with: name a "
            f"split with at least {scoring.LEAST_TO_COMPARE} by --test_split"
        )
    return reference


def _num_classes(request: EvaluationRequest, source: SampleSource, reference: Reference | None) -> int:
    """Returns the number of classes that samples are generated of."""
    own = reference and request.reference is None
    classes = reference.training.num_classes if own else source.model.num_classes
    least = max(2 * classes, scoring.LEAST_TO_COMPARE)
    if request.num_samples < least:
        raise UserError(
            f"--num_samples={request.num_samples}: diversity needs two samples of each of the {classes} "
            f"classes, and IS needs ten in total; give at least {least}"
        )
    return classes


def _extract(
    request: EvaluationRequest,
    reference: Reference | None,
    samples: SampleSet,
    network: FeatureNetwork,
    console: Console,
) -> Comparison:
    """Extracts the features of all images, in all processes."""
    if reference is None:
        statistics = read_statistics(Path(request.reference), network.features_dim, _signature(network))
        features = extract_features(network, samples.images, "samples", console)
        return Comparison(statistics, None, None, features, "")
    most, resolution = request.reference_images, samples.images.resolution
    training = RealImages(reference.training, most)
    held_out = RealImages(reference.held_out, most) if reference.held_out else None
    # Held-out images if possible: the classifier has learnt the training images.
    reason = shuffled_patches.reason_not_measured(
        resolution, samples.images.count, (held_out or training).count
    )
    of_real, of_samples = (
        [] if reason else [shuffled_patches.ShuffledPatchesCollector(network, resolution, seed)]
        for seed in (0, 1)
    )
    held_out_features = None
    if held_out:
        held_out_features = extract_features(network, held_out, "held-out images", console, *of_real)
    observers = [] if held_out else of_real
    training_features = extract_features(network, training, "training images", console, *observers)
    sample_features = extract_features(network, samples.images, "samples", console, *of_samples)
    return Comparison(
        feature_statistics(training_features.features),
        training_features,
        held_out_features,
        sample_features,
        reason
        or shuffled_patches.compare_shuffled_patches(
            network.name, of_real[0].statistics(), of_samples[0].statistics()
        ),
    )


def _report(
    request: EvaluationRequest,
    reference: Reference | None,
    comparison: Comparison,
    samples: SampleSet,
    network: FeatureNetwork,
    classifier: Classifier | None,
    assessment: Assessment,
    curve: list[TruncationPoint],
) -> Report:
    summary = None
    if classifier:
        summary = ClassifierSummary(
            hash=classifier.hash,
            resolution=classifier.resolution,
            test_accuracy=classifier.test_accuracy,
            test_images=classifier.test_images,
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
    if reference is None:
        return ReferenceSummary(source=request.reference, images=comparison.statistics.count)
    return ReferenceSummary(
        source=reference.training.name,
        training=reference.training.description,
        images=len(comparison.training),
        held_out=reference.held_out and reference.held_out.description,
        held_out_images=len(comparison.held_out) if comparison.held_out else 0,
    )


def _pictures(
    request: EvaluationRequest,
    reference: Reference | None,
    samples: SampleSet,
    source: SampleSource | None,
    report: Report,
) -> dict[str, bytes]:
    """Draws the pictures of the report, as PNG files by name."""
    drawn: dict[str, Image.Image] = {}
    rows, columns = (source.rows, source.columns) if source else (ROWS, COLUMNS)
    shown = pictures.shown_classes(report.classes, columns)
    if shown:
        labels = samples.images.labels
        numbers = [np.flatnonzero(labels == label)[:rows].tolist() for label in shown]
        images = samples.images.at([number for row in zip(*numbers, strict=False) for number in row])
        images = images.reshape(-1, len(shown), *images.shape[1:])
        drawn["evaluation.png"] = pictures.samples_by_class(images, shown, report)
    if report.nearest:
        indices, nearest, distances = zip(*report.nearest, strict=True)
        training = RealImages(reference.training, request.reference_images)
        both = np.stack([samples.images.at(indices), training.at(nearest)])
        (section,) = (section for section in report.blind_spots if section.number == blind_spots.MEMORISATION)
        drawn["nearest.png"] = pictures.nearest_sheet(both, bool(section.details["suspicious"]), distances)
    files = {name: png(picture) for name, picture in drawn.items()}
    if report.truncations:
        files["truncations.png"] = plot(report.truncations, report.network.network)
    return files


def _signature(network: FeatureNetwork) -> str:
    """Returns the name and hash of the network, as in files of statistics."""
    return f"{network.name} {network.weights_hash}"
