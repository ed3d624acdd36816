"""Judging a run: samplers whose faults are known, and workdirs that cannot be judged."""

import json
import shutil

import jax
import numpy as np
import pytest
from blobs import COLOURS, SETTINGS, SIZE, make_blobs
from rich.console import Console

from biggan_jax.cli import UserError
from biggan_jax.config import default_config
from biggan_jax.data import ArraySource, DataError
from biggan_jax.evaluation import judge as judging
from biggan_jax.training.checkpoints import Checkpoints
from biggan_jax.training.state import abstract_state
from biggan_jax.training.workdir import config_to_json

STEP = 7
NAMES = ("red", "green", "blue")


def make_config(**fields):
    config = default_config()
    config.model.update(
        resolution=SIZE,
        channels=4,
        num_classes=len(COLOURS),
        latent_dim=8,
        class_embedding_dim=4,
        attention_resolution=0,
        hierarchical_latents=False,
        generator_channels=(1, 1, 1),
        discriminator_channels=(1, 1, 1),
    )
    config.data.update(source="blobs", random_flip=False)
    config.sampling.update(standing_passes=2, batch_size=16, samples_per_class=2)
    config.update_from_flattened_dict(fields)
    return config


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

    def open_blobs(name, split="train", *, resolution, num_classes=None):
        if split not in ("train", "test"):
            raise DataError(f"blobs has no split {split!r}: set data.split to one of train, test")
        images, labels = make_blobs({"train": 300, "test": 150}[split], seed=1 + (split == "test"))
        if num_classes < len(COLOURS):
            raise DataError(f"blobs has labels 0 to 2, but model.num_classes = {num_classes}")
        return ArraySource(
            name=name,
            description=f"blobs; {split}: {len(images)}",
            num_examples=len(images),
            class_names=NAMES,
            resolution=resolution,
            images=images,
            labels=labels,
        )

    monkeypatch.setattr(judging, "open_source", open_blobs)
    monkeypatch.setattr(judging, "Settings", lambda random_flip: SETTINGS)
    return tmp_path


@pytest.fixture
def untouched_run(run, no_training):
    """The same before its first evaluation; fails the test if a classifier is trained."""
    shutil.rmtree(run / "evaluation")
    return run


def write_run(workdir, config, step=STEP):
    (workdir / "config.json").write_text(json.dumps(config_to_json(config)))
    checkpoints = Checkpoints(workdir / "checkpoints", config)
    random = np.random.default_rng(0)
    state = jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), abstract_state(config))
    checkpoints.save(step, state, {"unlogged": []})
    checkpoints.wait()
    checkpoints.close()


def judge(workdir, **arguments):
    defaults = {"num_samples": 30, "truncation": 0.0, "seed": 0, "train_split": None, "test_split": "test"}
    return judging.judge(workdir, **defaults | arguments, console=Console(quiet=True))


def test_a_generator_of_random_weights_is_not_recognised_and_the_report_says_where_numbers_come_from(run):
    report, samples, _ = judge(run)
    assert samples.shape == (30, SIZE, SIZE, 3) and samples.dtype == np.uint8
    assert report["step"] == STEP and report["num_samples"] == 30 and report["resolution"] == SIZE
    assert report["truncation"] == 0 and report["weights"] == "average (EMA)"
    assert report["statistics"] == {"mode": "standing", "passes": 2, "batch_size": 16}
    assert report["data"] == {"source": "blobs", "training": "blobs; train: 300", "test": "blobs; test: 150"}
    assert report["classifier"]["test_accuracy"] >= 0.97 and report["classifier"]["test_images"] == 150
    assert len(report["classifier"]["hash"]) == 12
    assert report["recognised@classifier"] < 0.7
    assert [row["name"] for row in report["classes"]] == list(NAMES)
    assert [row["num_samples"] for row in report["classes"]] == [10, 10, 10]
    assert np.sum(report["confusion"]) == 30
    json.dumps(report, allow_nan=False)


def test_samples_depend_on_the_seed_and_truncation_alone(run, monkeypatch):
    first = judge(run).samples
    np.testing.assert_array_equal(judge(run).samples, first)
    assert (judge(run, seed=1).samples != first).any()
    truncated = judge(run, truncation=0.3)
    assert truncated.report["truncation"] == 0.3
    assert (truncated.samples != first).any()
    write_run(run, make_config(**{"sampling.truncation": 0.3}), step=STEP + 1)
    latest = judge(run)
    assert latest.report["step"] == STEP + 1 and latest.report["truncation"] == 0
    np.testing.assert_array_equal(latest.samples, first)


class PerfectSampler:
    """Draws real images of the class asked for."""

    truncation = 0.0

    def __init__(self, *_):
        self.images_by_class = [
            images[labels == k] for k in range(3) for images, labels in [make_blobs(90, seed=6)]
        ]

    def images(self, z, labels):
        assert len(z) == len(labels)
        return np.stack([self.images_by_class[label][i] for i, label in enumerate(labels)])


def test_a_perfect_generator_is_recognised_and_its_samples_come_class_by_class(run, kept, monkeypatch):
    monkeypatch.setattr(judging, "Sampler", PerfectSampler)
    report, samples, _ = judge(run, num_samples=50)
    assert report["recognised@classifier"] >= 0.97
    assert [row["num_samples"] for row in report["classes"]] == [17, 17, 16]
    seen = kept[1].predict(samples).argmax(axis=1)
    assert (seen == np.arange(50) % 3).mean() >= 0.97


def score(kept, samples, labels):
    return judging.score(samples, labels, kept[1], *make_blobs(150, seed=2), NAMES)


def test_a_perfect_sampler_reaches_the_ceiling(kept):
    report = score(kept, *make_blobs(150, seed=5))
    assert report["recognised@classifier"] == pytest.approx(report["classifier"]["test_accuracy"], abs=0.03)
    assert report["diversity@classifier"] == pytest.approx(1, abs=0.15)


def test_a_sampler_that_confuses_two_classes_is_found_out_in_these_two(kept):
    samples, labels = make_blobs(150, seed=5)
    asked = np.array([1, 0, 2], np.int32)[labels]
    rows = score(kept, samples, asked)["classes"]
    assert [round(row["recognised@classifier"], 1) for row in rows] == [0, 0, 1]
    assert all(row["test_accuracy"] >= 0.95 for row in rows)


def test_a_sampler_that_repeats_one_image_of_a_class_is_found_out_in_this_class(kept):
    samples, labels = make_blobs(150, seed=5)
    samples[labels == 2] = samples[2]
    rows = score(kept, samples, labels)["classes"]
    assert rows[2]["recognised@classifier"] >= 0.95 and rows[2]["diversity@classifier"] < 1e-3
    assert min(rows[0]["diversity@classifier"], rows[1]["diversity@classifier"]) > 0.8


def test_a_class_without_samples_has_no_number(kept):
    samples, labels = make_blobs(150, seed=5)
    row = score(kept, samples[labels < 2], labels[labels < 2])["classes"][2]
    assert row["num_samples"] == 0
    assert row["recognised@classifier"] is None and row["diversity@classifier"] is None


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
    saved = judging.saved_config(run)
    assert saved == config and isinstance(saved.model.generator_channels, tuple)


def test_a_model_of_too_few_classes_is_refused(run):
    write_run(run, make_config(**{"model.num_classes": 2}), step=STEP + 1)
    with pytest.raises(UserError, match=r"--train_split=train: blobs has labels 0 to 2.*num_classes = 2"):
        judge(run)


def test_a_misspelt_split_is_refused_by_the_name_of_its_flag(run):
    with pytest.raises(UserError, match=r"--test_split=validation: blobs has no split"):
        judge(run, test_split="validation")


def test_too_few_samples_to_compare_two_of_a_class_are_refused(run):
    with pytest.raises(UserError, match=r"--num_samples=5: .* give 6 or more"):
        judge(run, num_samples=5)
    judge(run, num_samples=6)


def test_latents_that_cannot_be_truncated_are_refused(run):
    config = make_config(**{"model.latent_distribution": "bernoulli"})
    (run / "config.json").write_text(json.dumps(config_to_json(config)))
    with pytest.raises(UserError, match=r"--truncation=0.5: this run's latents are bernoulli"):
        judge(run, truncation=0.5)


def test_a_workdir_that_cannot_be_written_is_refused_before_any_training(untouched_run):
    (untouched_run / "evaluation").touch()
    with pytest.raises(UserError, match="cannot write .*evaluation"):
        judge(untouched_run)
