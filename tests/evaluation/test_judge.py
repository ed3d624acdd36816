"""Judging a run: samplers whose faults are known, and workdirs that cannot be judged."""

import json
import shutil

import numpy as np
import pytest
from blob_runs import NAMES, STEP, make_config, open_blobs, write_run
from blobs import SETTINGS, SIZE, make_blobs
from etils import epath
from rich.console import Console

from biggan_jax.cli import UserError
from biggan_jax.evaluation import judge as judging
from biggan_jax.evaluation import reference, subject, wholes
from biggan_jax.evaluation.scores.shape import shuffle_patches
from biggan_jax.training.workdir import config_to_json


@pytest.fixture(scope="module")
def pristine_run(tmp_path_factory, kept):
    workdir = tmp_path_factory.mktemp("run")
    write_run(workdir, make_config())
    shutil.copytree(kept[0], workdir / "evaluation")
    return workdir


@pytest.fixture
def run(tmp_path, pristine_run, monkeypatch):
    """The workdir of a run on blobs that has a checkpoint and a classifier."""
    shutil.copytree(pristine_run, tmp_path, dirs_exist_ok=True)

    monkeypatch.setattr(reference, "open_source", open_blobs)
    monkeypatch.setattr(judging, "Settings", lambda random_flip: SETTINGS)
    return tmp_path


@pytest.fixture
def untouched_run(run, no_training):
    """The same before its first evaluation; fails the test if a classifier is trained."""
    shutil.rmtree(run / "evaluation")
    return run


def judge(run, **fields):
    request = {"workdir": epath.Path(run), "folder": epath.Path(run), "num_samples": 30}
    return judging.judge(judging.Request(**request | fields), Console(quiet=True))


def value(report, name):
    return report["scores"][f"{name}@classifier"]["value"]


def section(report, number):
    (found,) = (item for item in report["beyond_is"] if item["blind_spot"] == number)
    return found


class Posing:
    """A sampler that draws given images, whatever it is asked for."""

    truncation = 0.0

    def __init__(self, images):
        self.images = images

    def __call__(self, *_):
        return self

    def draw(self, labels, seed=0, start=0):
        return self.images[start : start + len(labels)]


def judge_images(run, monkeypatch, images, **fields):
    """Judges images in the order of labels 0, 1, 2, 0, … as if the run had drawn them."""
    monkeypatch.setattr(subject, "Sampler", Posing(images))
    return judge(run, num_samples=len(images), **fields).report


def test_a_generator_of_random_weights_is_not_recognised_and_the_report_says_where_numbers_come_from(run):
    report = judge(run).report
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
    assert value(report, "recognised") < 0.7
    assert [row["name"] for row in report["classes"]] == list(NAMES)
    assert [row["num_samples"] for row in report["classes"]] == [10, 10, 10]
    assert np.sum(report["confusion"]) == 30
    json.dumps(report, allow_nan=False)


def test_every_score_carries_network_count_statistics_truncation_and_resolution(run):
    report = judge(run, truncations=(0.5,), cas=True).report
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


def test_samples_depend_on_the_seed_and_truncation_alone(run):
    def fid(**fields):
        return value(judge(run, **fields).report, "fid")

    first = fid()
    assert fid() == first and fid(seed=1) != first and fid(truncation=0.3) != first
    write_run(run, make_config(**{"sampling.truncation": 0.3}), step=STEP + 1)
    latest = judge(run).report
    assert latest["step"] == STEP + 1 and latest["truncation"] == 0 and value(latest, "fid") == first


def test_the_checkpoint_of_a_step_can_be_judged_and_one_that_is_not_there_is_refused(run):
    write_run(run, make_config(), step=STEP + 1)
    assert judge(run, step=STEP).report["step"] == STEP
    with pytest.raises(UserError, match=r"--step=3: the checkpoints in .* are of the steps 7, 8"):
        judge(run, step=3)


def test_a_checkpoint_that_is_asked_for_and_broken_is_refused(run):
    (run / "checkpoints" / f"{STEP:08d}" / "loop").rename(run / "gone")
    with pytest.raises(UserError, match=r"--step=7: its checkpoint cannot be read .*choose another"):
        judge(run, step=STEP)


def test_held_out_images_that_pose_as_samples_reach_the_ceiling_and_no_section_is_flagged(run, monkeypatch):
    report = judge_images(run, monkeypatch, make_blobs(300, seed=6)[0])
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


def test_a_generator_that_confuses_two_classes_is_found_out_in_these_two(run, monkeypatch):
    images = make_blobs(150, seed=5)[0]
    images[0::3], images[1::3] = images[1::3].copy(), images[0::3].copy()
    rows = judge_images(run, monkeypatch, images)["classes"]
    assert [round(row["recognised@classifier"], 1) for row in rows] == [0, 0, 1]
    assert all(row["test_accuracy"] >= 0.95 for row in rows)
    fids = [row["fid@classifier"] for row in rows]
    assert min(fids[:2]) > 5 * fids[2]


def test_one_image_of_a_class_repeated_is_flagged_by_section_4_which_names_the_class(run, monkeypatch):
    images = make_blobs(150, seed=5)[0]
    images[2::3] = images[2]
    report = judge_images(run, monkeypatch, images)
    rows = report["classes"]
    assert rows[2]["recognised@classifier"] >= 0.95 and rows[2]["diversity@classifier"] < 1e-3
    assert min(rows[0]["diversity@classifier"], rows[1]["diversity@classifier"]) > 0.8
    variety = section(report, 4)
    assert variety["flagged"] and variety["poor_classes"] == ["blue"]
    assert variety["least_diverse"][0]["name"] == "blue" and "blue (0.00)" in variety["sentence"]
    assert variety["least_diverse"][0]["vendi"] == pytest.approx(1, abs=1e-3)


def test_copies_of_training_images_are_flagged_by_section_5_and_the_pairs_are_named(run, monkeypatch):
    training = make_blobs(300, seed=1)[0]
    report = judge_images(run, monkeypatch, training[:150])
    memory = section(report, 5)
    assert memory["flagged"] and memory["suspicious"] == pytest.approx(1, abs=0.02)
    assert (
        "of the training images" not in memory["sentence"] and "the 300 training images" in memory["sentence"]
    )
    assert len(report["nearest"]) == 10
    for pair in report["nearest"]:
        assert pair["relative_distance"] == 0
        np.testing.assert_array_equal(training[pair["sample"]], training[pair["training_image"]])


def test_samples_of_two_classes_only_are_flagged_by_section_2(run, monkeypatch):
    images = make_blobs(300, seed=6)[0]
    images[2::3] = images[0::3]
    found = section(judge_images(run, monkeypatch, images), 2)
    assert found["flagged"] and found["meaningful"] and "leave classes out" in found["sentence"]


def test_shuffled_patches_are_flagged_by_section_3_and_whole_images_are_not(run, monkeypatch):
    monkeypatch.setattr(wholes, "LEAST", 150)
    monkeypatch.setattr(wholes.shape, "THUMBNAIL", 4)  # 48 numbers: of 150 images, 192 would say little
    images = make_blobs(300, seed=6)[0]
    whole = section(judge_images(run, monkeypatch, images), 3)
    shuffled = section(judge_images(run, monkeypatch, shuffle_patches(images, seed=7)), 3)
    assert whole["measured"] and whole["by_network"]["wholeness"] > 0.7 > shuffled["by_network"]["wholeness"]
    assert whole["by_thumbnails"]["wholeness"] > 2 * shuffled["by_thumbnails"]["wholeness"]
    assert shuffled["flagged"] and not whole["by_network"]["flagged"]


def test_cas_is_high_for_good_samples_and_at_chance_where_labels_say_nothing(run, monkeypatch):
    images = make_blobs(300, seed=6)[0]
    report = judge_images(run, monkeypatch, images, cas=True)
    assert value(report, "cas") >= 0.9
    ceiling = report["scores"]["cas@classifier"]["held_out"]
    assert ceiling["value"] == report["classifier"]["test_accuracy"] and ceiling["count"] == 300
    images = np.random.default_rng(0).permutation(images)
    assert value(judge_images(run, monkeypatch, images, cas=True), "cas") < 0.6


def test_too_few_samples_for_a_covariance_of_full_rank_are_flagged_and_said(run, monkeypatch):
    report = judge_images(run, monkeypatch, make_blobs(12, seed=6)[0])
    assert report["scores"]["fid@classifier"]["too_few"]
    assert any("too few for a covariance of full rank" in note for note in report["notes"])
    report = judge_images(run, monkeypatch, make_blobs(60, seed=6)[0])
    assert not report["scores"]["fid@classifier"]["too_few"] and report["notes"] == []


def test_a_smaller_part_of_the_training_images_is_said_where_originals_are_searched(run):
    report = judge(run, reference_images=100).report
    assert report["reference"]["images"] == 100
    assert "100 of the 300 training images" in section(report, 5)["sentence"]


def test_samples_are_the_same_from_a_file_as_from_the_run(run, tmp_path):
    path, statistics = tmp_path / "samples.npz", tmp_path / "statistics.npz"
    first = judge(run, save_samples=path, save_statistics=statistics).report
    with np.load(path) as file:
        assert file["arr_0"].shape == (30, SIZE, SIZE, 3) and file["arr_1"].tolist() == [0, 1, 2] * 10
    fields = {"workdir": None, "samples": path, "reference": "blobs"}
    again = judge(run, **fields).report
    assert {name: score["value"] for name, score in again["scores"].items()} == {
        name: score["value"] for name, score in first["scores"].items()
    }
    assert again["file"] == str(path) and again["statistics"] is None and "step" not in again

    with pytest.raises(UserError, match="classifier learns from real images.*only statistics"):
        judge(run, **fields | {"reference": str(statistics)})


def thumbnails_of_two(images):
    """A feature network of the tests' own."""
    means = images.reshape(len(images), 4, -1).mean(axis=2)
    return means, means


def features_alone(images):
    return images.mean(axis=(1, 2))


def test_statistics_as_reference_give_fid_and_is_and_say_that_there_is_no_more(run, tmp_path):
    statistics = tmp_path / "statistics.npz"
    network = f"{__name__}:thumbnails_of_two"
    expected = judge(run, network=network, save_statistics=statistics).report["scores"]
    report = judge(run, network=network, reference=str(statistics)).report
    assert report["scores"].keys() == {f"fid@{network}", f"is@{network}"}
    for name, score in report["scores"].items():
        assert score["value"] == pytest.approx(expected[name]["value"], rel=1e-9)
    assert "FID and IS are all that can be had" in report["notes"][0]
    assert not any(item["measured"] for item in report["beyond_is"])
    with pytest.raises(UserError, match="--cas tests on real images"):
        judge(run, network=network, reference=str(statistics), cas=True)
    with pytest.raises(UserError, match="of another network|is of the network"):
        judge(run, network=f"{__name__}:features_alone", reference=str(statistics))


def test_a_network_without_logits_has_every_score_but_is_and_says_so(run):
    network = f"{__name__}:features_alone"
    report = judge(run, network=network).report
    names = {"fid", "kid", "precision", "recall", "density", "coverage", "diversity"}
    assert report["scores"].keys() == {f"{name}@{network}" for name in names}
    assert [item["measured"] for item in report["beyond_is"]] == [False, False, False, True, True]
    assert "no logits" in section(report, 1)["sentence"] and "no logits" in report["notes"][-1]
    assert "classifier" not in report


def test_truncations_give_a_point_each_which_is_that_of_the_truncation_alone(run):
    judgement = judge(run, truncations=(0.3, 0.0))
    first, last = judgement.report["truncations"]
    assert (first["truncation"], last["truncation"]) == (0.3, 0)
    for point, alone in ((first, judge(run, truncation=0.3).report), (last, judgement.report)):
        for name in ("fid@classifier", "is@classifier"):
            assert point[name]["value"] == pytest.approx(alone["scores"][name]["value"], rel=1e-9)
    assert judgement.pictures["truncations.png"].startswith(b"\x89PNG")
    assert judgement.pictures.keys() == {"evaluation.png", "nearest.png", "truncations.png"}


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run here .*biggan_jax\.train"):
        judge(tmp_path)
    with pytest.raises(UserError, match="no run here"):
        judge(tmp_path / "missing")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("checkpoints", [None, "empty"])
def test_a_run_without_checkpoint_is_refused_before_any_training(untouched_run, checkpoints):
    shutil.rmtree(untouched_run / "checkpoints")
    if checkpoints:
        (untouched_run / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no checkpoint yet"):
        judge(untouched_run)


def test_a_broken_or_foreign_config_is_refused(run):
    path = run / "config.json"
    good = path.read_text()
    path.write_text(good[:100])
    with pytest.raises(UserError, match="cannot read .*config.json"):
        judge(run)
    path.write_text(good.replace('"latent_dim"', '"latent_size"'))
    with pytest.raises(UserError, match="another version.*latent_size"):
        judge(run)
    path.write_text(good.replace('"num_classes": 3', '"num_classes": 0'))
    with pytest.raises(UserError, match="config.model.num_classes = 0"):
        judge(run)


def test_the_saved_config_comes_back_as_it_was(run):
    config = make_config(**{"optimizer.beta1": 0.5, "model.discriminator_downsample": (1, 1, 0)})
    (run / "config.json").write_text(json.dumps(config_to_json(config)))
    saved = subject.saved_config(run)
    assert saved == config and isinstance(saved.model.generator_channels, tuple)


def test_a_model_of_too_few_classes_is_refused(run):
    write_run(run, make_config(**{"model.num_classes": 2}), step=STEP + 1)
    with pytest.raises(UserError, match=r"--train_split=train: blobs has labels 0 to 2.*num_classes = 2"):
        judge(run)


def test_a_misspelt_split_is_refused_by_the_name_of_its_flag(run):
    with pytest.raises(UserError, match=r"--test_split=validation: blobs has no split"):
        judge(run, test_split="validation")


def test_too_few_samples_to_compare_two_of_a_class_are_refused(run):
    with pytest.raises(UserError, match=r"--num_samples=9: .* give 10 or more"):
        judge(run, num_samples=9)
    judge(run, num_samples=10)


def test_latents_that_cannot_be_truncated_are_refused(run):
    config = make_config(**{"model.latent_distribution": "bernoulli"})
    (run / "config.json").write_text(json.dumps(config_to_json(config)))
    with pytest.raises(UserError, match=r"--truncation=0.5: this run's latents are bernoulli"):
        judge(run, truncation=0.5)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((20, 8, 8, 3), np.float32), None, r"float32 images with values from 0 to 0"),
        (np.full((20, 8, 8, 3), np.nan, np.float32), None, "3,840 of them not finite"),
        (np.zeros((20, 8, 9, 3), np.uint8), None, "8 × 9 pixels: they must be square"),
        (np.zeros((20, 3, 8, 8), np.uint8), None, "move the channels last"),
        (np.zeros((20, SIZE, SIZE, 3), np.uint8), np.full(20, 3), "labels up to 3, but blobs has 3 classes"),
        (np.zeros((9, SIZE, SIZE, 3), np.uint8), None, "9 samples cannot be cut into 10 splits"),
    ],
)
def test_files_that_hold_no_samples_or_other_ones_are_refused(run, tmp_path, images, labels, words):
    path = tmp_path / "samples.npz"
    np.savez(path, images, *([] if labels is None else [labels]))
    with pytest.raises(UserError, match=words):
        judge(run, workdir=None, samples=path, reference="blobs")


def test_samples_without_labels_have_no_scores_by_class_and_the_report_says_so(run, tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, make_blobs(30, seed=5)[0])
    fields = {"workdir": None, "samples": path, "reference": "blobs"}
    report = judge(run, **fields).report
    assert report["classes"] == [] and "recognised@classifier" not in report["scores"]
    assert not section(report, 4)["measured"] and "no labels" in section(report, 4)["sentence"]
    with pytest.raises(UserError, match="--cas learns from the samples' labels"):
        judge(run, **fields, cas=True)
    with pytest.raises(UserError, match="--truncation=0.5: samples of a file are drawn already"):
        judge(run, **fields, truncation=0.5)
    with pytest.raises(UserError, match="--save_samples=.*they are in .*samples.npz already"):
        judge(run, **fields, save_samples=tmp_path / "again.npz")
    with pytest.raises(UserError, match="say what to compare them with: --reference"):
        judge(run, **fields | {"reference": None})


def test_without_inceptions_weights_the_message_says_where_they_are_and_what_works_without(run, monkeypatch):
    monkeypatch.setenv("BIGGAN_INCEPTION", str(run / "nowhere.pth"))
    with pytest.raises(
        UserError, match=r"cannot read .*https://github.com/.*Without it, .*'classifier' works"
    ):
        judge(run, network="inception")


def test_a_source_without_held_out_images_is_refused_by_the_classifier_and_serves_another_network(
    run, monkeypatch
):
    monkeypatch.setattr(reference, "HELD_OUT", ("validation",))
    with pytest.raises(
        UserError, match=r"no split validation: train with --config.data.split='train\[:90%\]'"
    ):
        judge(run)
    report = judge(run, network=f"{__name__}:thumbnails_of_two").report
    assert [item["measured"] for item in report["beyond_is"]] == [True, True, False, True, False]
    assert "no real images were held out" in section(report, 5)["sentence"]


def test_a_workdir_that_cannot_be_written_is_refused_before_any_training(untouched_run):
    (untouched_run / "evaluation").touch()
    with pytest.raises(UserError, match="cannot write .*evaluation"):
        judge(untouched_run)
