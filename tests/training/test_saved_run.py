"""What can be learnt from a workdir: which checkpoint is the best, and what the classes are called."""

import json
import logging

import numpy as np
import pytest
from etils import epath
from tiny_workdirs import make_run_config, random_state, write_run

from biggan_jax.data import ArraySource
from biggan_jax.runtime.errors import UserError
from biggan_jax.training.run import saved_run
from biggan_jax.training.run.record import Record
from biggan_jax.training.run.saved_run import (
    best_step,
    class_names,
    recorded_class_names,
    recorded_loss,
    restore,
)

BEST = {"checkpoints.best": 1, "checkpoints.metric": "fid@x", "checkpoints.keep": 1}


def source_of(names, size=8):
    return ArraySource(
        name="nowhere",
        description="noise",
        num_examples=4,
        class_names=tuple(names),
        resolution=size,
        images=np.zeros((4, size, size, 3), np.uint8),
        labels=np.zeros(4, np.int32),
    )


def runs(tmp_path, scores, **fields):
    config = make_run_config(**fields)
    write_run(tmp_path / "run", config, scores)
    return epath.Path(tmp_path / "run"), config


def test_the_best_step_is_the_lowest_or_highest_by_the_metric(tmp_path):
    scores = {10: {"fid@x": 7.0}, 20: {"fid@x": 3.0}, 30: {"fid@x": 5.0}}
    workdir, config = runs(tmp_path, scores, **BEST)
    assert best_step(workdir, config) == 20
    state = restore(workdir, config, 20).state
    expected = random_state(config, seed=20)
    np.testing.assert_array_equal(state.ema_params["conv"]["kernel"], expected.ema_params["conv"]["kernel"])
    (tmp_path / "higher").mkdir()
    workdir, config = runs(tmp_path / "higher", scores, **BEST | {"checkpoints.higher_is_better": True})
    assert best_step(workdir, config) == 10


def test_checkpoints_without_the_number_are_not_the_best(tmp_path):
    nothing, nan = {"d_loss": 1.0}, {"fid@x": float("nan")}
    workdir, config = runs(tmp_path, {10: {"fid@x": 7.0}, 20: nothing, 30: nan}, **BEST)
    assert best_step(workdir, config) == 10


def test_a_run_whose_checkpoints_have_no_such_number_has_no_best(tmp_path):
    workdir, config = runs(tmp_path, {10: {"d_loss": 1.0}, 20: {"fid@x": float("nan")}}, **BEST)
    with pytest.raises(UserError, match="--best: none of the checkpoints in .* has a fid@x yet"):
        best_step(workdir, config)


def test_a_run_without_checkpoints_has_no_best(tmp_path):
    with pytest.raises(UserError, match="none of the checkpoints"):
        best_step(epath.Path(tmp_path), make_run_config(**BEST))


def test_a_run_that_keeps_no_best_has_none(tmp_path):
    workdir, config = runs(tmp_path, {10: {"fid@x": 7.0}})
    with pytest.raises(UserError, match="does not keep its best checkpoints .*config.checkpoints.best = 0"):
        best_step(workdir, config)


def test_a_run_writes_its_classes_names_down(tmp_path):
    names, config = ("Schlüssel", "<b>", "日本"), make_run_config()
    record = Record(epath.Path(tmp_path), config, source_of(names), lambda: None)
    record.begin(0)
    record.end()
    record.checkpoints.close()
    assert recorded_class_names(epath.Path(tmp_path)) == names
    assert class_names(epath.Path(tmp_path), config) == names


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"a": 1}', '["a"', "\xff"])
def test_names_that_are_damaged_are_no_names(tmp_path, content):
    (tmp_path / "classes.json").write_bytes(content.encode("latin-1"))
    assert recorded_class_names(epath.Path(tmp_path)) == ()


def test_an_older_run_has_the_names_of_its_source(tmp_path, monkeypatch):
    asked = []

    def open_source(*arguments, **fields):
        asked.append((arguments, fields["resolution"]))
        return source_of(["a", "b", "c"])

    monkeypatch.setattr(saved_run, "open_source", open_source)
    assert class_names(epath.Path(tmp_path), make_run_config()) == ("a", "b", "c")
    assert asked == [(("nowhere", "train"), 8)]


def test_labels_beyond_the_sources_classes_get_a_name_too(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(["a", "b"]))
    assert class_names(epath.Path(tmp_path), make_run_config()) == ("a", "b", "class 2")


def test_more_names_than_classes_are_left_out_with_a_warning(tmp_path, caplog):
    (tmp_path / "classes.json").write_text(json.dumps(["a", "b", "c", "d"]))
    with caplog.at_level(logging.WARNING):
        assert class_names(epath.Path(tmp_path), make_run_config()) == ()
    assert "4 names for 3 classes" in caplog.text


@pytest.mark.parametrize("source", ["folder:/nowhere", "prepared:/nowhere", "tfds:no_such_set", "unknown"])
def test_without_the_source_there_are_no_names_but_a_warning(tmp_path, source, monkeypatch, caplog):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

    def download(*_, **__):
        raise AssertionError("an export must not begin to download a data set")

    monkeypatch.setattr("biggan_jax.data.tfds_images.prepared_builder", download)
    with caplog.at_level(logging.WARNING):
        assert class_names(epath.Path(tmp_path), make_run_config(**{"data.source": source})) == ()
    assert "classes are shown by number, because their names are unknown" in caplog.text


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ('{"loss": "wasserstein"}', "wasserstein"),
        ("{}", "hinge"),
        ('{"loss": "own"}', "hinge"),
        ("{", "hinge"),
    ],
)
def test_the_loss_of_a_run_is_known_from_its_workdir_and_was_the_hinge_loss_in_older_ones(
    tmp_path, text, loss
):
    assert recorded_loss(tmp_path) == "hinge"
    (tmp_path / "config.json").write_text(text)
    assert recorded_loss(tmp_path) == loss
