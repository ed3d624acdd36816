"""One function per score, from its inputs to its value. Each is named by a line in `registry.METRICS`."""

import dataclasses

import numpy as np

from biggan_jax.evaluation.scores import frechet, inception_score, kernel, recognition
from biggan_jax.evaluation.scores.inputs import ClassificationAccuracy, Score, ScoreInputs


def inception(inputs: ScoreInputs) -> Score | None:
    """Computes IS; its details state whether IS is meaningful for these classes."""
    if inputs.samples.logits is None:
        return None
    result = inception_score.inception_score(inputs.samples.logits)
    details = {}
    if fit := inputs.findings.label_fit:
        details = {"meaningful": fit.meaningful, "share_of_real": fit.share}
    return Score.make(result.mean, std=result.std, splits=result.splits, count=result.count, **details)


def fid(inputs: ScoreInputs) -> Score:
    """Computes FID, its bias and FID∞."""
    result = frechet.fid(inputs.reference_statistics, inputs.sample_statistics)
    limit = frechet.extrapolated(inputs.reference_statistics, inputs.samples.features)
    return Score.make(**dataclasses.asdict(result), extrapolated=limit)


def kid(inputs: ScoreInputs) -> Score | None:
    """Computes KID and its errors."""
    if inputs.reference is None:
        return None
    return Score.make(**dataclasses.asdict(kernel.kid(inputs.reference.features, inputs.samples.features)))


def precision(inputs: ScoreInputs) -> Score | None:
    """Computes the share of samples within the manifold of the training images."""
    return _of_overlap(inputs, "precision")


def recall(inputs: ScoreInputs) -> Score | None:
    """Computes the share of training images within the manifold of the samples."""
    return _of_overlap(inputs, "recall")


def density(inputs: ScoreInputs) -> Score | None:
    """Computes the density of the samples in the manifold of the training images."""
    return _of_overlap(inputs, "density")


def coverage(inputs: ScoreInputs) -> Score | None:
    """Computes the share of training images with a sample nearby."""
    return _of_overlap(inputs, "coverage")


def _of_overlap(inputs: ScoreInputs, name: str) -> Score | None:
    overlap = inputs.overlap
    if overlap is None:
        return None
    return Score.make(getattr(overlap, name), count=overlap.count, reference_count=overlap.reference_count)


def recognised(inputs: ScoreInputs) -> Score | None:
    """Computes the share of samples that the network recognises as the requested class."""
    counts = confusion(inputs)
    return None if counts is None else Score.make(recognition.recognised(counts), count=len(inputs.samples))


def diversity(inputs: ScoreInputs) -> Score | None:
    """Computes within-class diversity relative to real images, which have 1 by definition."""
    if inputs.findings.diversity is None:
        return None
    real = inputs.held_out or inputs.reference
    ceiling = Score.make(1.0, count=len(real)) if real else None
    return Score.make(inputs.findings.diversity.mean_ratio, ceiling, count=len(inputs.samples))


def classification_accuracy(inputs: ScoreInputs) -> Score | None:
    """Returns CAS: the accuracy of a classifier that was trained on the samples alone."""
    result = inputs.classification_accuracy
    if result is None:
        return None
    ceiling = None if result.real is None else _of_accuracy(result.real)
    score = _of_accuracy(result)
    details = score.details | {"learnt": {"weights_hash": result.weights_hash}}
    return dataclasses.replace(score, details=details, held_out=ceiling)


def _of_accuracy(result: ClassificationAccuracy) -> Score:
    return Score.make(result.accuracy, count=result.count, test_images=result.test_images)


def fid_by_class(inputs: ScoreInputs) -> np.ndarray | None:
    """Computes the FID of each class."""
    samples, real = inputs.samples, inputs.reference
    if samples.labels is None or real is None or real.labels is None:
        return None
    return frechet.per_class(real.features, real.labels, samples.features, samples.labels, inputs.num_classes)


def recognised_by_class(inputs: ScoreInputs) -> np.ndarray | None:
    """Computes the share of samples that the network recognises, by requested class."""
    counts = confusion(inputs)
    return None if counts is None else recognition.recognised_by_class(counts)


def diversity_by_class(inputs: ScoreInputs) -> np.ndarray | None:
    """Returns the diversity of each class."""
    result = inputs.findings.diversity
    return None if result is None else result.ratio


def confusion(inputs: ScoreInputs) -> np.ndarray | None:
    """Counts samples by requested and predicted class; None if the network does not know the classes."""
    labels, logits = inputs.samples.labels, inputs.samples.logits
    if not inputs.recognises or labels is None or logits is None:
        return None
    return recognition.confusion(labels, logits)
