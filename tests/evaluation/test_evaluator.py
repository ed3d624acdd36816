"""Evaluation of a run: generators whose faults are known, and the origin that every score carries."""

import dataclasses
import json

import numpy as np
import pytest
from blob_runs import NAMES, STEP, make_config, random_state, write_run
from blobs import SIZE, make_blobs
from etils import epath
from evaluating import evaluate_images, evaluate_run, section, value

from biggan_jax.evaluation import shuffled_patches
from biggan_jax.evaluation.report.schema import Report
from biggan_jax.evaluation.report.terminal import provenance
from biggan_jax.evaluation.scores.patch_shuffling import shuffle_patches
from biggan_jax.exports.export_files import write_export
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.standing_statistics import prepare_generator


def test_a_generator_of_random_weights_is_not_recognised_and_the_report_says_where_numbers_come_from(run):
    report = evaluate_run(run).report
    assert report["step"] == STEP and report["num_samples"] == 30 and report["resolution"] == SIZE
    assert report["truncation"] == 0 and report["weights"] == "average (EMA)"
    assert report["statistics"] == {"mode": "standing", "passes": 2, "batch_size": 16}
    assert report["reference"] == {
        "source": "blobs",
        "training": "blobs; train: 300",
        "images": 300,
        "held_out": "blobs; test: 150",
        "held_out_images": 150,
    }
    assert report["classifier"]["test_accuracy"] >= 0.97 and report["classifier"]["test_images"] == 150
    assert len(report["classifier"]["hash"]) == 12
    assert report["classifier"]["test_loss"] < 0.5 < report["classifier"]["guess_loss"]
    assert report["classifier"]["majority_share"] == pytest.approx(1 / 3)
    assert value(report, "recognised") < 0.7
    recall = report["scores"]["recall@classifier"]
    assert recall["flagged"] and recall["value"] < recall["held_out"]["value"] / 2
    assert recall["sentence"] in report["notes"]
    assert [row["name"] for row in report["classes"]] == list(NAMES)
    assert [row["num_samples"] for row in report["classes"]] == [10, 10, 10]
    assert np.sum(report["confusion"]) == 30
    json.dumps(report, allow_nan=False)


@pytest.mark.slow
def test_every_score_carries_network_count_statistics_truncation_and_resolution(run):
    report = evaluate_run(run, truncations=(0.5,), cas=True).report
    names = {
        "is",
        "fid",
        "kid",
        "precision",
        "recall",
        "density",
        "coverage",
        "recognised",
        "diversity",
        "cas",
    }
    assert report["scores"].keys() == {f"{name}@classifier" for name in names}
    for score in [*report["scores"].values(), report["truncations"][0]]:
        assert score["network"]["network"] == "classifier"
        assert score["network"]["weights_hash"] == report["classifier"]["hash"]
        assert score["num_samples"] == 30 and score["resolution"] == SIZE and score["step"] == STEP
        assert score["statistics"]["mode"] == "standing" and score["statistics"]["passes"] == 2
    assert (
        report["truncations"][0]["truncation"] == 0.5
        and report["scores"]["fid@classifier"]["truncation"] == 0
    )


@pytest.mark.slow
def test_samples_depend_on_the_seed_and_truncation_alone(run):
    def fid(**fields):
        return value(evaluate_run(run, **fields).report, "fid")

    first = fid()
    assert fid() == first and fid(seed=1) != first and fid(truncation=0.3) != first
    write_run(run, make_config(**{"sampling.truncation": 0.3}), step=STEP + 1)
    latest = evaluate_run(run).report
    assert latest["step"] == STEP + 1 and latest["truncation"] == 0 and value(latest, "fid") == first


@pytest.mark.slow
def test_held_out_images_that_pose_as_samples_reach_the_ceiling_and_no_section_is_flagged(run, monkeypatch):
    report = evaluate_images(run, monkeypatch, make_blobs(300, seed=6)[0])
    assert value(report, "recognised") >= 0.97
    assert value(report, "diversity") == pytest.approx(1, abs=0.15)
    assert value(report, "fid") < 3 * report["scores"]["fid@classifier"]["held_out"]["value"]
    assert section(report, 2)["count"] == 150  # of the held-out images: the network has learnt the others
    for name in ("is", "fid", "kid", "precision", "recall", "density", "coverage", "recognised"):
        ceiling = report["scores"][f"{name}@classifier"]["held_out"]
        assert ceiling["value"] == pytest.approx(value(report, name), rel=0.5, abs=0.1), name
    assert report["scores"]["fid@classifier"]["held_out"]["count"] == 150
    assert value(report, "precision") > 0.8 and value(report, "recall") > 0.8
    assert value(report, "density") > 0.7 and value(report, "coverage") > 0.7
    assert abs(value(report, "kid")) < 5 * report["scores"]["kid@classifier"]["standard_error"]
    assert [item["blind_spot"] for item in report["beyond_is"]] == [1, 2, 3, 4, 5]
    assert [item["measured"] for item in report["beyond_is"]] == [True, True, False, True, True]
    assert "500 samples" in section(report, 3)["sentence"]
    assert not [item["sentence"] for item in report["beyond_is"] if item["flagged"]]


@pytest.mark.slow
def test_a_generator_that_confuses_two_classes_is_found_out_in_these_two(run, monkeypatch):
    images = make_blobs(150, seed=5)[0]
    images[0::3], images[1::3] = images[1::3].copy(), images[0::3].copy()
    rows = evaluate_images(run, monkeypatch, images)["classes"]
    assert [round(row["recognised@classifier"], 1) for row in rows] == [0, 0, 1]
    assert all(row["test_accuracy"] >= 0.95 for row in rows)
    fids = [row["fid@classifier"] for row in rows]
    assert min(fids[:2]) > 5 * fids[2]


@pytest.mark.slow
def test_one_image_of_a_class_repeated_is_flagged_by_section_4_which_names_the_class(run, monkeypatch):
    images = make_blobs(150, seed=5)[0]
    images[2::3] = images[2]
    report = evaluate_images(run, monkeypatch, images)
    rows = report["classes"]
    assert rows[2]["recognised@classifier"] >= 0.95 and rows[2]["diversity@classifier"] < 1e-3
    assert min(rows[0]["diversity@classifier"], rows[1]["diversity@classifier"]) > 0.8
    variety = section(report, 4)
    assert variety["flagged"] and variety["poor_classes"] == ["blue"]
    assert variety["least_diverse"][0]["name"] == "blue" and "blue (0.00)" in variety["sentence"]
    assert variety["least_diverse"][0]["vendi"] == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_copies_of_training_images_are_flagged_by_section_5_and_the_pairs_are_named(run, monkeypatch):
    training = make_blobs(300, seed=1)[0]
    report = evaluate_images(run, monkeypatch, training[:150])
    memory = section(report, 5)
    assert memory["flagged"] and memory["suspicious"] == pytest.approx(1, abs=0.02)
    assert (
        "of the training images" not in memory["sentence"] and "the 300 training images" in memory["sentence"]
    )
    assert len(report["nearest"]) == 10
    for pair in report["nearest"]:
        assert pair["relative_distance"] == 0
        np.testing.assert_array_equal(training[pair["sample"]], training[pair["training_image"]])


@pytest.mark.slow
def test_samples_of_two_classes_only_are_flagged_by_section_2(run, monkeypatch):
    images = make_blobs(300, seed=6)[0]
    images[2::3] = images[0::3]
    found = section(evaluate_images(run, monkeypatch, images), 2)
    assert found["flagged"] and found["meaningful"] and "miss classes" in found["sentence"]


@pytest.mark.slow
def test_shuffled_patches_are_flagged_by_section_3_and_whole_images_are_not(run, monkeypatch):
    monkeypatch.setattr(shuffled_patches, "LEAST", 150)
    monkeypatch.setattr(
        shuffled_patches.patch_shuffling, "THUMBNAIL", 4
    )  # 48 numbers: of 150 images, 192 would say little
    images = make_blobs(300, seed=6)[0]
    whole = section(evaluate_images(run, monkeypatch, images), 3)
    shuffled = section(evaluate_images(run, monkeypatch, shuffle_patches(images, seed=7)), 3)
    assert whole["measured"] and whole["by_network"]["wholeness"] > 0.7 > shuffled["by_network"]["wholeness"]
    assert whole["by_thumbnails"]["wholeness"] > 2 * shuffled["by_thumbnails"]["wholeness"]
    assert shuffled["flagged"] and not whole["by_network"]["flagged"]


@pytest.mark.slow
def test_cas_is_high_for_good_samples_and_at_chance_where_labels_say_nothing(run, monkeypatch):
    images = make_blobs(300, seed=6)[0]
    report = evaluate_images(run, monkeypatch, images, cas=True)
    assert value(report, "cas") >= 0.9
    ceiling = report["scores"]["cas@classifier"]["held_out"]
    assert ceiling["value"] == report["classifier"]["test_accuracy"] and ceiling["count"] == 300
    images = np.random.default_rng(0).permutation(images)
    assert value(evaluate_images(run, monkeypatch, images, cas=True), "cas") < 0.6


@pytest.mark.slow
def test_too_few_samples_for_a_covariance_of_full_rank_are_flagged_and_said(run, monkeypatch):
    report = evaluate_images(run, monkeypatch, make_blobs(12, seed=6)[0])
    assert report["scores"]["fid@classifier"]["too_few"]
    assert any("too few for a covariance of full rank" in note for note in report["notes"])
    report = evaluate_images(run, monkeypatch, make_blobs(60, seed=6)[0])
    assert not report["scores"]["fid@classifier"]["too_few"] and report["notes"] == []


@pytest.mark.slow
def test_a_smaller_part_of_the_training_images_is_said_where_originals_are_searched(run):
    report = evaluate_run(run, reference_images=100).report
    assert report["reference"]["images"] == 100
    assert "100 of the 300 training images" in section(report, 5)["sentence"]


@pytest.mark.slow
def test_samples_are_the_same_from_a_file_as_from_the_run(run, tmp_path):
    path, statistics = tmp_path / "samples.npz", tmp_path / "statistics.npz"
    first = evaluate_run(run, save_samples=path, save_statistics=statistics).report
    with np.load(path) as file:
        assert file["arr_0"].shape == (30, SIZE, SIZE, 3) and file["arr_1"].tolist() == [0, 1, 2] * 10
    fields = {"workdir": None, "samples": path, "reference": "blobs"}
    again = evaluate_run(run, **fields).report
    assert {name: score["value"] for name, score in again["scores"].items()} == {
        name: score["value"] for name, score in first["scores"].items()
    }
    assert again["file"] == str(path) and again["statistics"] is None and "step" not in again

    with pytest.raises(UserError, match="classifier learns from real images.*only statistics"):
        evaluate_run(run, **fields | {"reference": str(statistics)})


@pytest.mark.slow
def test_statistics_as_reference_give_fid_and_is_and_say_that_there_is_no_more(run, tmp_path):
    statistics = tmp_path / "statistics.npz"
    network = "evaluating:thumbnails_of_two"
    expected = evaluate_run(run, network=network, save_statistics=statistics).report["scores"]
    report = evaluate_run(run, network=network, reference=str(statistics)).report
    assert report["scores"].keys() == {f"fid@{network}", f"is@{network}"}
    for name, score in report["scores"].items():
        assert score["value"] == pytest.approx(expected[name]["value"], rel=1e-9)
    assert "only FID and IS can be computed" in report["notes"][0]
    assert not any(item["measured"] for item in report["beyond_is"])
    with pytest.raises(UserError, match="--cas tests on held-out images"):
        evaluate_run(run, network=network, reference=str(statistics), cas=True)
    with pytest.raises(UserError, match="another network|comes from the network"):
        evaluate_run(run, network="evaluating:features_alone", reference=str(statistics))


@pytest.mark.slow
def test_a_network_without_logits_has_every_score_but_is_and_says_so(run):
    network = "evaluating:features_alone"
    report = evaluate_run(run, network=network).report
    names = {"fid", "kid", "precision", "recall", "density", "coverage", "diversity"}
    assert report["scores"].keys() == {f"{name}@{network}" for name in names}
    assert [item["measured"] for item in report["beyond_is"]] == [False, False, False, True, True]
    assert "no logits" in section(report, 1)["sentence"]
    assert any("no logits" in note for note in report["notes"])
    assert "classifier" not in report


@pytest.mark.slow
def test_truncations_give_a_point_each_which_is_that_of_the_truncation_alone(run):
    result = evaluate_run(run, truncations=(0.3, 0.0))
    first, last = result.report["truncations"]
    assert (first["truncation"], last["truncation"]) == (0.3, 0)
    for point, alone in ((first, evaluate_run(run, truncation=0.3).report), (last, result.report)):
        for name in ("fid@classifier", "is@classifier"):
            assert point[name]["value"] == pytest.approx(alone["scores"][name]["value"], rel=1e-9)
    assert result.pictures["truncations.png"].startswith(b"\x89PNG")
    assert result.pictures.keys() == {"evaluation.png", "nearest.png", "truncations.png"}


@pytest.mark.slow
def test_an_export_is_evaluated_as_the_run_that_it_came_of_whose_images_must_be_named(run, tmp_path):
    config, state = make_config(), random_state(make_config())
    exported = prepare_generator(config, state.ema_params, state.generator.u, [0.3, 0.0])
    write_export(tmp_path / "export", dataclasses.replace(exported, provenance={"format": "biggan_jax"}))
    fields = {"workdir": None, "weights": tmp_path / "export"}
    with pytest.raises(UserError, match="--weights=.*export: name real images to compare with"):
        evaluate_run(run, **fields)
    report = evaluate_run(run, **fields, reference="blobs", truncations=(0.3,)).report
    assert report["truncation"] == 0 and report["truncations"][0]["truncation"] == 0.3
    assert report["statistics"]["truncations"] == [0.3, 0.0]
    assert value(report, "fid") == pytest.approx(value(evaluate_run(run).report, "fid"), rel=1e-4)
    origin = provenance(Report.from_json(report))
    assert "of the export" in origin and "untruncated" in origin
    with pytest.raises(UserError, match="truncation = 0.1: batch norm has statistics at 0.3, 0"):
        evaluate_run(run, **fields, reference="blobs", truncation=0.1)


@pytest.mark.slow
def test_a_second_evaluation_with_another_output_does_not_train_the_classifier_again(
    run, tmp_path_factory, own_cache, no_training
):
    first = evaluate_run(run).report
    assert [path.name for path in (own_cache / "classifiers").iterdir()] == [
        path.name for path in (run / "evaluation").iterdir()
    ]
    other = epath.Path(tmp_path_factory.mktemp("other"))
    again = evaluate_run(run, folder=other).report
    assert again == first
    (kept,) = (other / "evaluation").iterdir()  # the folder holds all that it needs
    assert kept.read_bytes() == next((run / "evaluation").iterdir()).read_bytes()


@pytest.mark.slow
def test_a_report_is_read_back_as_it_was_written(run):
    report = evaluate_run(run, truncations=(0.5,), cas=True).report
    assert Report.from_json(report).to_json() == report
