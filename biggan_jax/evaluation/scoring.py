"""Computes every score of the registry.

Held-out images take the place of the samples too: their scores are those that perfect samples would get.
"""

import numpy as np

from biggan_jax.evaluation.report.schema import ClassRow
from biggan_jax.evaluation.scores import measures
from biggan_jax.evaluation.scores.inputs import Score, ScoreInputs, strict_json
from biggan_jax.evaluation.scores.registry import METRICS

LEAST_TO_COMPARE = 10  # held-out images: fewer have no scores of their own
TEST_ACCURACY = "test_accuracy"  # key of the share of held-out images of a class that are recognised


def compute_scores(inputs: ScoreInputs, network: str) -> dict[str, Score]:
    """Computes all scores whose inputs are given, by their full names.

    A network with a fault has no values: its scores state the reason.

    Args:
      inputs: Features, logits and labels.
      network: Name of the feature network.
    """
    held_out = inputs.with_held_out_as_samples()
    if held_out is not None and len(held_out.samples) < LEAST_TO_COMPARE:
        held_out = None
    scores = {}
    for metric in METRICS.values():
        score = metric.compute(inputs)
        if score is None:
            continue
        if inputs.fault and metric.network in (None, network):
            score = Score.refused(inputs.fault)
        elif score.held_out is None and held_out is not None:
            score = Score(score.value, score.details, metric.compute(held_out))
        scores[metric.full_name(network)] = metric.with_flag(score)
    return scores


def class_rows(inputs: ScoreInputs, network: str, class_names: tuple[str, ...]) -> list[ClassRow]:
    """Computes the scores of each class; none for samples without labels, no values for a faulty network.

    Args:
      inputs: Features, logits and labels.
      network: Name of the feature network.
      class_names: Names of the classes of the reference.
    """
    if inputs.samples.labels is None:
        return []
    columns = {} if inputs.fault else _values_by_class(inputs, network)
    counts = np.bincount(inputs.samples.labels, minlength=len(class_names)).tolist()
    return [
        ClassRow(label, name, counts[label], {key: values[label] for key, values in columns.items()})
        for label, name in enumerate(class_names)
    ]


def _values_by_class(inputs: ScoreInputs, network: str) -> dict[str, list[float | None]]:
    """Returns the numbers of all classes, by the keys of `ClassRow.values`."""
    columns = {}
    for metric in METRICS.values():
        values = metric.by_class(inputs) if metric.by_class else None
        if values is not None:
            columns[metric.full_name(network)] = strict_json(values)
    held_out = inputs.with_held_out_as_samples()
    accuracy = measures.recognised_by_class(held_out) if held_out else None
    if accuracy is not None:
        columns[TEST_ACCURACY] = strict_json(accuracy)
    return columns
