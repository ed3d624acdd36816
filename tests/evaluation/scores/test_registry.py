"""The registry of scores: each line reaches the scoring, and readers ask it for direction and format."""

import dataclasses

import numpy as np
import pytest

from biggan_jax.evaluation import scoring
from biggan_jax.evaluation.scores import registry
from biggan_jax.evaluation.scores.features import ExtractedFeatures
from biggan_jax.evaluation.scores.formats import decimals, percent, ratio
from biggan_jax.evaluation.scores.inputs import Score, ScoreInputs
from biggan_jax.evaluation.scores.moments import feature_statistics
from biggan_jax.evaluation.scores.registry import METRICS, Metric, metric_of


def extracted(seed, count=40):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, 3)).astype(np.float32)
    labels = np.arange(count, dtype=np.int32) % 3
    return ExtractedFeatures(random.normal(size=(count, 4)).astype(np.float32), logits, labels)


def inputs(held_out=None):
    reference = extracted(1)
    return ScoreInputs(
        samples=extracted(2),
        reference_statistics=feature_statistics(reference.features),
        reference=reference,
        held_out=held_out,
        num_classes=3,
        recognises=True,
    )


def test_a_line_of_the_table_is_all_that_a_score_needs(monkeypatch):
    def largest(inputs):
        return Score.make(inputs.samples.features.max())

    by_class = Metric("largest", True, percent, compute=largest, by_class=lambda inputs: np.arange(3.0))
    monkeypatch.setitem(METRICS, "largest", by_class)
    held_out = extracted(3)
    scores = scoring.compute_scores(inputs(held_out), "network")
    assert scores["largest@network"].value == pytest.approx(extracted(2).features.max())
    assert scores["largest@network"].held_out.value == pytest.approx(held_out.features.max())
    rows = scoring.class_rows(inputs(), "network", ("a", "b", "c"))
    assert [row.values["largest@network"] for row in rows] == [0.0, 1.0, 2.0]
    assert metric_of("largest@network").format(0.5) == "50.0 %"


def test_scores_without_their_inputs_are_left_out():
    bare = ScoreInputs(samples=extracted(2), reference_statistics=inputs().reference_statistics)
    assert scoring.compute_scores(bare, "network").keys() == {"is@network", "fid@network"}
    few = scoring.compute_scores(inputs(extracted(3, count=9)), "network")
    assert all(score.held_out is None for score in few.values())


def test_the_best_value_is_the_highest_or_the_lowest_or_none():
    assert metric_of("fid@inception").best([3.0, 1.0, 2.0]) == 1.0
    assert metric_of("is@inception").best([3.0, 1.0, 2.0]) == 3.0
    assert metric_of("density").best([3.0, 1.0]) is None and metric_of("fid").best([]) is None
    assert {name for name, metric in METRICS.items() if metric.higher_is_better is False} == {"fid", "kid"}


def test_a_score_that_the_table_lacks_has_no_direction():
    metric = metric_of("fid_of_tomorrow@inception")
    assert metric.best([1.0, 2.0]) is None and metric.format(12.345) == "12.35"
    assert metric.compute(inputs()) is None


def test_values_are_shown_with_their_format_deviation_and_remark():
    kid = Score.make(0.0123456, standard_error=0.001)
    assert metric_of("kid").shown(kid) == "0.01235 ± 0.00100"
    assert metric_of("is").shown(Score.make(6.0, std=0.25)) == "6.00 ± 0.25"
    fid = Score.make(12.3, expected_bias=1.5, extrapolated=None)
    assert metric_of("fid").remark_on(fid) == "bias about 1.50"
    poor = Score.make(1.0, std=0.0, meaningful=False, share_of_real=0.2)
    assert metric_of("is").remark_on(poor) == "not meaningful here: see 2"
    assert metric_of("cas").full_name("inception") == "cas@classifier"


def test_recall_below_half_of_that_of_real_images_is_flagged_and_explained():
    recall, real = metric_of("recall"), Score.make(0.8)
    low, fine = (recall.with_flag(Score.make(value, real)) for value in (0.39, 0.41))
    assert low.details["flagged"] and recall.remark_on(low) == "below 50 % of held-out images"
    assert "recall of the samples is 39.0 %, and held-out images have 80.0 %" in low.details["sentence"]
    assert fine.details == {"flagged": False} and recall.remark_on(fine) == ""
    assert recall.with_flag(Score.make(0.1)).details == {}  # nothing to compare with
    assert metric_of("precision").with_flag(Score.make(0.1, real)).details == {}


def test_scores_of_a_network_with_a_fault_have_a_reason_in_place_of_a_value():
    refused = scoring.compute_scores(dataclasses.replace(inputs(extracted(3)), fault="it sleeps"), "network")
    assert refused.keys() == scoring.compute_scores(inputs(extracted(3)), "network").keys()
    for name, score in refused.items():
        assert score == Score(None, {"meaningful": False, "reason": "it sleeps"}), name
        assert metric_of(name).shown(score) == "not meaningful" and metric_of(name).remark_on(score) == ""
    rows = scoring.class_rows(dataclasses.replace(inputs(), fault="it sleeps"), "network", ("a", "b", "c"))
    assert [row.values for row in rows] == [{}, {}, {}]


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_missing_number_is_a_dash(missing):
    assert {form(missing) for form in (percent, ratio, decimals(5))} == {"–"}


@pytest.mark.parametrize("form", [percent, ratio, decimals(5)])
def test_a_number_that_rounds_to_zero_has_no_sign(form):
    assert not form(-1e-9).startswith("-") and not form(-0.0).startswith("-")
    assert form(-0.02).startswith("-")


def test_names_are_unique_and_every_score_has_a_function():
    assert len(METRICS) == len(registry._TABLE)
    assert all(metric.compute is not registry._not_computed for metric in METRICS.values())
