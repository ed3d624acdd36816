"""Impossible evaluations are refused with the reason and the remedy, before any training."""

import json
import shutil

import numpy as np
import pytest
from blob_runs import STEP, make_config, write_run
from blobs import SIZE, make_blobs
from evaluating import evaluate_run, section

from biggan_jax.config import config_to_json
from biggan_jax.evaluation import reference
from biggan_jax.runtime.errors import UserError
from biggan_jax.training.run.saved_run import saved_config


def test_the_checkpoint_of_a_step_can_be_evaluated_and_one_that_is_not_there_is_refused(run):
    write_run(run, make_config(), step=STEP + 1)
    assert evaluate_run(run, step=STEP).report["step"] == STEP
    with pytest.raises(UserError, match=r"--step=3: the checkpoints in .* are of the steps 7, 8"):
        evaluate_run(run, step=3)


def test_the_best_checkpoint_can_be_evaluated_where_the_run_keeps_it(run):
    with pytest.raises(UserError, match="--best: this run does not keep its best checkpoints"):
        evaluate_run(run, step="best")
    best = {"checkpoints.best": 1, "checkpoints.metric": "fid@x", "evaluation.every": 1_000}
    for step, fid in ((8, 3.0), (9, 5.0)):
        write_run(run, make_config(**best), step, {"fid@x": fid})
    assert evaluate_run(run, step="best").report["step"] == 8
    assert evaluate_run(run).report["step"] == 9


def test_a_checkpoint_that_is_asked_for_and_broken_is_refused(run):
    (run / "checkpoints" / f"{STEP:08d}" / "loop").rename(run / "gone")
    with pytest.raises(UserError, match=r"--step=7: cannot read this checkpoint .*choose another"):
        evaluate_run(run, step=STEP)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run here .*biggan_jax\.train"):
        evaluate_run(tmp_path)
    with pytest.raises(UserError, match="no run here"):
        evaluate_run(tmp_path / "missing")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("checkpoints", [None, "empty"])
def test_a_run_without_checkpoint_is_refused_before_any_training(untouched_run, checkpoints):
    shutil.rmtree(untouched_run / "checkpoints")
    if checkpoints:
        (untouched_run / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no checkpoint yet"):
        evaluate_run(untouched_run)


def test_a_broken_or_foreign_config_is_refused(run):
    path = run / "config.json"
    good = path.read_text()
    path.write_text(good[:100])
    with pytest.raises(UserError, match="cannot read .*config.json"):
        evaluate_run(run)
    path.write_text(good.replace('"latent_dim"', '"latent_size"'))
    with pytest.raises(UserError, match="another version.*latent_size"):
        evaluate_run(run)
    path.write_text(good.replace('"num_classes": 3', '"num_classes": 0'))
    with pytest.raises(UserError, match="config.model.num_classes = 0"):
        evaluate_run(run)


def test_the_saved_config_comes_back_as_it_was(run):
    config = make_config(**{"optimizer.beta1": 0.5, "model.discriminator_downsample": (1, 1, 0)})
    (run / "config.json").write_text(json.dumps(config_to_json(config)))
    saved = saved_config(run)
    assert saved == config and isinstance(saved.model.generator_channels, tuple)


def test_a_model_of_too_few_classes_is_refused(run):
    write_run(run, make_config(**{"model.num_classes": 2}), step=STEP + 1)
    with pytest.raises(UserError, match=r"--train_split=train: blobs has labels 0 to 2.*num_classes = 2"):
        evaluate_run(run)


def test_a_misspelt_split_is_refused_by_the_name_of_its_flag(run):
    with pytest.raises(UserError, match=r"--test_split=validation: blobs has no split"):
        evaluate_run(run, test_split="validation")


def test_too_few_samples_to_compare_two_of_a_class_are_refused(run):
    with pytest.raises(UserError, match=r"--num_samples=9: .* give at least 10"):
        evaluate_run(run, num_samples=9)
    evaluate_run(run, num_samples=10)


def test_latents_that_cannot_be_truncated_are_refused(run):
    config = make_config(**{"model.latent_distribution": "bernoulli"})
    (run / "config.json").write_text(json.dumps(config_to_json(config)))
    with pytest.raises(UserError, match=r"truncation = 0.5 with bernoulli latents: only normal"):
        evaluate_run(run, truncation=0.5)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((20, 8, 8, 3), np.float32), None, r"float32 images with values from 0 to 0"),
        (np.full((20, 8, 8, 3), np.nan, np.float32), None, "3,840 of 3,840 values not finite"),
        (np.eye(20, dtype=np.uint8)[:, :12].reshape(20, 2, 2, 3), None, "without a value above 1"),
        (np.zeros((20, 8, 9, 3), np.uint8), None, "8 × 9 pixels: they must be square"),
        (np.zeros((20, 3, 8, 8), np.uint8), None, "move the channels last"),
        (np.zeros((20, SIZE, SIZE, 3), np.uint8), np.full(20, 3), "labels up to 3, but blobs has 3 classes"),
        (np.zeros((9, SIZE, SIZE, 3), np.uint8), None, "needs at least 10 images, got 9"),
    ],
)
def test_files_that_hold_no_samples_or_other_ones_are_refused(run, tmp_path, images, labels, words):
    path = tmp_path / "samples.npz"
    np.savez(path, images, *([] if labels is None else [labels]))
    with pytest.raises(UserError, match=words):
        evaluate_run(run, workdir=None, samples=path, reference="blobs")


def test_samples_of_a_size_that_the_reference_does_not_come_in_are_refused_with_their_size(tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, np.full((20, 36, 36, 3), 9, np.uint8))
    words = r"the 36 px of .*samples.npz: .*fashion_mnist_10k comes in 28 px, padded to 32, not in 36"
    with pytest.raises(UserError, match=words):
        evaluate_run(tmp_path, workdir=None, samples=path, reference="fashion_mnist_10k")


def test_samples_without_labels_have_no_scores_by_class_and_the_report_says_so(run, tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, make_blobs(30, seed=5)[0])
    fields = {"workdir": None, "samples": path, "reference": "blobs"}
    report = evaluate_run(run, **fields).report
    assert report["classes"] == [] and "recognised@classifier" not in report["scores"]
    assert not section(report, 4)["measured"] and "no labels" in section(report, 4)["sentence"]
    with pytest.raises(UserError, match="--cas trains on the labels of the samples"):
        evaluate_run(run, **fields, cas=True)
    with pytest.raises(UserError, match="--truncation=0.5: the samples of a file cannot be truncated"):
        evaluate_run(run, **fields, truncation=0.5)
    with pytest.raises(UserError, match="--save_samples=.*the samples are in .*samples.npz already"):
        evaluate_run(run, **fields, save_samples=tmp_path / "again.npz")
    with pytest.raises(UserError, match="name real images to compare with: --reference"):
        evaluate_run(run, **fields | {"reference": None})


def test_without_inceptions_weights_the_message_says_where_they_are_and_what_works_without(run, monkeypatch):
    monkeypatch.setenv("BIGGAN_INCEPTION", str(run / "nowhere.pth"))
    with pytest.raises(
        UserError, match=r"cannot read .*https://github.com/.*Without it, .*'classifier' works"
    ):
        evaluate_run(run, network="inception")


def test_a_source_without_held_out_images_is_refused_by_the_classifier_and_serves_another_network(
    run, monkeypatch
):
    monkeypatch.setattr(reference, "HELD_OUT", ("validation",))
    with pytest.raises(
        UserError, match=r"no split validation: train with --config.data.split='train\[:90%\]'"
    ):
        evaluate_run(run)
    report = evaluate_run(run, network="evaluating:thumbnails_of_two").report
    assert [item["measured"] for item in report["beyond_is"]] == [True, True, False, True, False]
    assert "no held-out images" in section(report, 5)["sentence"]


def test_a_workdir_that_cannot_be_written_is_refused_before_any_training(untouched_run):
    (untouched_run / "evaluation").touch()
    with pytest.raises(UserError, match="cannot write .*evaluation"):
        evaluate_run(untouched_run)
