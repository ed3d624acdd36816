"""Evaluates the samples of a run, an export or a file, and reports the result."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from rich.console import Console

from biggan_jax.evaluation import scoring, shuffled_patches
from biggan_jax.evaluation.assessment import Comparison, assess, assess_by_statistics, fault_of
from biggan_jax.evaluation.classification_accuracy import (
    measure_classification_accuracy,
    refuse_impossible_accuracy,
)
from biggan_jax.evaluation.image_sets import RealImages, gather_images, refuse_too_many
from biggan_jax.evaluation.learnt_images import refuse_other_images
from biggan_jax.evaluation.networks.classifier import ClassifierSettings
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.reference import Reference, open_network, open_reference
from biggan_jax.evaluation.report.schema import Report, TruncationPoint
from biggan_jax.evaluation.report.truncation_curve import truncation_curve
from biggan_jax.evaluation.reporting import draw_pictures, make_report
from biggan_jax.evaluation.request import EvaluationRequest
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
from biggan_jax.runtime.paths import user_path
from biggan_jax.sampling.sample_file import write_samples
from biggan_jax.sampling.truncation import refuse_impossible


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
    source = _open_source(request)
    read = open_file(request.samples) if request.samples else None
    _refuse_impossible(request, source)
    resolution = read.origin.resolution if read else _opened(source).model.resolution
    reference = _open_reference(request, source, resolution)
    if source and reference:
        for line in refuse_other_images(request, source, reference.training, reference.held_out):
            console.print(line)
    if request.cas:
        refuse_impossible_accuracy(read is None or read.images.labelled, reference)
    if request.samples and read and reference:
        refuse_other_labels(
            request.samples, read.images.labels, reference.training.num_classes, reference.training.name
        )
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
    samples = read or _generate(request, _opened(source), num_classes, console)

    keep = request.cas or request.save_samples is not None
    if keep:
        refuse_too_many(samples.images)
    comparison = _extract(request, reference, samples, network, console)
    fault = fault_of(network, comparison.statistics)
    curve = [] if fault else _curve(request, comparison, samples, source, network, console)
    kept = gather_images(samples.images) if keep else None
    if not first:
        return None
    if request.save_samples and kept:
        write_samples(request.save_samples, kept[0], _labels(kept))
    if request.save_statistics:
        write_statistics(request.save_statistics, comparison.statistics, _signature(network))
    if reference:
        accuracy = None
        if request.cas and kept:
            accuracy = measure_classification_accuracy(
                kept[0],
                _labels(kept),
                reference,
                request.reference_images,
                settings,
                classifier,
                console,
            )
        recognises = classifier is not None
        assessment = assess(comparison, reference, network.name, recognises, accuracy, fault)
    else:
        assessment = assess_by_statistics(comparison, network.name, fault)
    report = make_report(request, reference, comparison, samples, network, classifier, assessment, curve)
    return EvaluationResult(report, draw_pictures(request, reference, samples, source, report))


def _open_source(request: EvaluationRequest) -> SampleSource | None:
    """Opens the generator; returns None for samples from a file."""
    if request.workdir:
        return open_run(request.workdir, request.step)
    return open_export(request.weights) if request.weights else None


def _opened(source: SampleSource | None) -> SampleSource:
    if source is None:
        raise ValueError("the request names no samples")
    return source


def _generate(
    request: EvaluationRequest, source: SampleSource, num_classes: int, console: Console
) -> SampleSet:
    console.print(f"generating {request.num_samples:,} samples of {source.description}")
    return source.generate(request.num_samples, num_classes, request.truncation, request.seed)


def _curve(
    request: EvaluationRequest,
    comparison: Comparison,
    samples: SampleSet,
    source: SampleSource | None,
    network: FeatureNetwork,
    console: Console,
) -> list[TruncationPoint]:
    """Computes the scores at other truncations; samples from a file have none."""
    if source is None or samples.at_truncation is None:
        return []
    return truncation_curve(
        network,
        samples.at_truncation,
        request.truncations,
        comparison.statistics,
        source.truncation_kind,
        console,
    )


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
    own = source.data_source if source and request.reference is None else None
    name = request.reference or own
    if name is None:
        given = f"--weights={request.weights}" if source else f"--samples={request.samples}"
        raise UserError(
            f"{given}: name real images to compare with: --reference=SOURCE, such as fashion_mnist_10k or "
            "folder:PATH, or --reference=FILE.npz"
        )
    if own is None and name.endswith(".npz"):
        return None
    try:
        reference = open_reference(
            name,
            resolution,
            source.model.num_classes if source and own else None,
            request.train_split or (source.split if source and own else "train"),
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
    classes = source.model.num_classes
    if reference and request.reference is None:
        classes = reference.training.num_classes
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
        statistics = read_statistics(
            Path(user_path(request.reference or "", "--reference=")),
            network.features_dim,
            _signature(network),
        )
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


def _labels(kept: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
    """Returns the labels of samples, which those of a generator and those for CAS have."""
    assert kept[1] is not None
    return kept[1]


def _signature(network: FeatureNetwork) -> str:
    """Returns the name and hash of the network, as in files of statistics."""
    return f"{network.name} {network.weights_hash}"
