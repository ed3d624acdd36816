"""The five sections: each reports its own measure, and no other section is flagged for it."""

import dataclasses

import numpy as np
import pytest

from biggan_jax.evaluation.report.blind_spots import sections, suspicious_pairs
from biggan_jax.evaluation.scores.features import ExtractedFeatures
from biggan_jax.evaluation.scores.findings import Findings, measure_blind_spots
from biggan_jax.evaluation.scores.inputs import strict_json
from biggan_jax.evaluation.scores.patch_shuffling import NetworkAgreement, PatchSensitivity
from biggan_jax.evaluation.shuffled_patches import ShuffledPatches

CLASSES, EACH = 40, 15
NAMES = [f"class {label}" for label in range(CLASSES)]
LABELS = np.repeat(np.arange(CLASSES), EACH).astype(np.int32)


def extracted(seed, spread=1.0, unknown=0):
    """Of a network that is sure of every class but the first `unknown`, which it takes for the last."""
    random = np.random.default_rng(seed)
    centres = 20 * np.random.default_rng(0).standard_normal((CLASSES, 8))
    features = centres[LABELS] + spread * random.standard_normal((len(LABELS), 8))
    taken_for = np.where(LABELS < unknown, CLASSES - 1, LABELS)
    return ExtractedFeatures(
        features.astype(np.float32), 9.0 * np.eye(CLASSES, dtype=np.float32)[taken_for], LABELS
    )


def shapes(**flagged):
    """What two networks say of shape; flagged are those that are named."""

    def by(network):
        return PatchSensitivity(
            network, 9.0, 1.0, 0.1, 1.0, False, flagged.get(network, False), f"By {network}."
        )

    agree = NetworkAgreement("network", "thumbnails", 0.1, 0.1, flagged.get("second", False), "They agree.")
    return ShuffledPatches(by("network"), by("thumbnails"), agree)


def assessed(training=None, held_out=None, samples=None, of_shape=None, **arguments):
    findings = measure_blind_spots(
        training or extracted(1), held_out or extracted(2), samples or extracted(3), CLASSES
    )
    given = {"network": "net", "class_names": NAMES, "present": CLASSES, "searched": "the 7 images"}
    given |= {"compared": "Sets are these."}
    found = sections(findings, of_shape or shapes(), reasons={}, **given | arguments)
    return [strict_json(section.to_json()) for section in found]


def flagged(found):
    return [section["blind_spot"] for section in found if section["flagged"]]


def test_honest_samples_are_flagged_by_none_and_every_section_is_measured():
    found = assessed()
    assert flagged(found) == [] and all(section["measured"] for section in found)
    assert [section["blind_spot"] for section in found] == [1, 2, 3, 4, 5]
    assert found[2]["sentence"].endswith(" Sets are these.")  # the table has another FID


def test_section_1_is_flagged_by_more_unknown_classes_than_a_few_and_names_ten_of_them():
    few, many = (assessed(held_out=extracted(2, unknown=count))[0] for count in (1, 12))
    assert not few["flagged"] and many["flagged"]  # a twentieth is the limit
    assert few["known_classes"] == 38  # the last class, which the other is taken for, is unknown too
    assert many["unknown_classes"] == [*NAMES[:12], NAMES[-1]]
    assert "not class 0, class 1, class 2, class 3" in many["sentence"]
    assert "class 9 and 3 more" in many["sentence"] and "class 10" not in many["sentence"]
    assert "network net separates 27 of the 40 classes" in many["sentence"]


def test_section_1_counts_unknown_classes_among_those_that_the_real_images_have():
    findings = measure_blind_spots(extracted(1), extracted(2, unknown=2), extracted(3), CLASSES)

    def section(present):
        return sections(findings, None, "net", NAMES, present, "", "", {})[0].to_json()

    assert not section(present=60)["flagged"] and section(present=59)["flagged"]  # 3 unknown


def test_section_2_is_flagged_where_samples_leave_classes_out_and_has_the_numbers_of_its_measure():
    few = extracted(3)
    few = dataclasses.replace(few, logits=few.logits[LABELS % 5 * EACH])
    found = assessed(samples=few)
    assert flagged(found) == [2]
    assert found[1]["samples_effective_classes"] == pytest.approx(5, abs=0.6)
    assert "miss classes" in found[1]["sentence"] and "unknown_classes" not in found[1]


@pytest.mark.parametrize("by", ["network", "thumbnails", "second"])
def test_section_3_is_flagged_by_each_of_its_three_measures(by):
    found = assessed(of_shape=shapes(**{by: True}))
    assert flagged(found) == [3]
    assert ("By thumbnails." in found[2]["sentence"]) is (by == "thumbnails")
    assert found[2]["sentence"].startswith("By network. They agree.")


def test_section_4_names_the_classes_that_are_poor_and_says_how_many_different_samples_there_are():
    alike = extracted(3)
    alike.features[: 3 * EACH] = alike.features[::EACH][:3].repeat(EACH, axis=0)
    found = assessed(samples=alike)
    assert flagged(found) == [4]
    section = found[3]
    assert section["poor_classes"][:3] == NAMES[:3] and len(section["least_diverse"]) == 10
    assert [row["name"] for row in section["least_diverse"][:3]] == NAMES[:3]
    assert section["least_diverse"][0]["ratio"] < 0.01 < section["least_diverse"][3]["ratio"]
    assert section["least_diverse"][0]["vendi"] == pytest.approx(1, abs=1e-4)
    assert "class 0 (0.00), class 1 (0.00), class 2 (0.00)." in section["sentence"]
    assert section["mean_vendi"] < section["mean_real_vendi"]
    assert f"count as {section['mean_vendi']:.1f} different images" in section["sentence"]
    assert f"real images count as {section['mean_real_vendi']:.1f}" in section["sentence"]


def test_section_5_is_flagged_by_copies_says_where_was_searched_and_names_the_pairs():
    training, copies = extracted(1), extracted(3)
    copies.features[:90] = training.features[100:190]
    found = assessed(training=training, samples=copies)
    assert flagged(found) == [5]
    assert found[4]["suspicious"] == pytest.approx(0.15, abs=0.02)
    assert "nearer to the 7 images than" in found[4]["sentence"]
    assert f"{100 * found[4]['closer']:.0f} % of pairs" in found[4]["sentence"]
    pairs = suspicious_pairs(measure_blind_spots(training, extracted(2), copies, CLASSES).memorisation)
    assert len(pairs) == 10  # of 90
    assert all(image == sample + 100 and distance == 0 for sample, image, distance in pairs)


def test_pairs_are_only_the_suspicious_ones_or_if_there_are_none_the_nearest():
    training, copies = extracted(1), extracted(3)
    copies.features[50:54] = training.features[7:11]
    memory = measure_blind_spots(training, extracted(2), copies, CLASSES).memorisation
    few = suspicious_pairs(dataclasses.replace(memory, suspicious=4 / len(LABELS)))
    assert [pair[:2] for pair in few] == [(50, 7), (51, 8), (52, 9), (53, 10)]
    pairs = suspicious_pairs(dataclasses.replace(memory, suspicious=0.0))
    assert len(pairs) == 10 and np.all(np.diff([distance for *_, distance in pairs]) >= 0)


def test_held_out_images_are_what_samples_are_compared_with_where_there_are_some():
    """Of images that it has learnt a network is surer, and their features lie nearer together."""
    narrow = extracted(1, spread=0.5, unknown=12)
    found = assessed(training=narrow, held_out=extracted(2), samples=extracted(3))
    assert found[0]["known_classes"] == CLASSES
    assert found[3]["mean_ratio"] == pytest.approx(1, abs=0.1)
    alone = measure_blind_spots(narrow, None, extracted(3), CLASSES)
    assert (
        len(alone.label_fit.unknown_classes) == 13
        and alone.diversity.mean_ratio > 1.5
        and alone.memorisation is None
    )


def test_what_could_not_be_measured_says_why_and_is_not_flagged():
    bare = ExtractedFeatures(extracted(3).features, None, None)
    assert measure_blind_spots(extracted(1), None, bare, CLASSES) == Findings()
    reasons = {number: f"reason {number}" for number in range(1, 6)}
    found = [section.to_json() for section in sections(Findings(), None, "net", (), 0, "", "", reasons)]
    assert [section["sentence"] for section in found] == [f"Not measured: reason {n}." for n in range(1, 6)]
    assert not any(section["measured"] or section["flagged"] for section in found)
