"""A run goes on with the images that it began with, and its names of classes are those of its checkpoint."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tiny_runs
from etils import epath
from tiny_runs import CLASSES, make_config, noise_images  # noqa: F401

from biggan_jax.data import DataError
from biggan_jax.training.run import initialization, loop
from biggan_jax.training.run.loop import train
from biggan_jax.training.run.provenance import provenance
from biggan_jax.training.run.record import Record
from biggan_jax.training.run.saved_run import class_names, recorded_images, restore
from biggan_jax.training.step.state import abstract_state

STEP = 6  # the last, so that nothing is left to train


@pytest.fixture
def source(noise_images):  # noqa: F811
    return loop.open_source("noise")


@pytest.fixture(scope="module")
def state():
    """Zeros: the images alone count here."""
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_state(make_config()))


@pytest.fixture(scope="module")
def written(tmp_path_factory, state):
    """A workdir with a checkpoint of the last step, as a run on noise writes it."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.put_noise(patch)
        workdir, source = epath.Path(tmp_path_factory.mktemp("run")), loop.open_source("noise")
        record = Record(workdir, make_config(), source, lambda: None)
    record.begin(0)
    record.save(STEP, state, {"unlogged": [], "watch": {}}, {})
    record.checkpoints.wait()
    record.checkpoints.close()
    record.end()
    return record.workdir


@pytest.fixture
def run(tmp_path, written):
    shutil.copytree(written, tmp_path / "run")
    return epath.Path(tmp_path / "run")


def resume(monkeypatch, run, source, **fields):
    monkeypatch.setattr(loop, "open_source", lambda *args, **kwargs: source)
    return train(make_config(**fields), run)


def renamed(source):
    return dataclasses.replace(source, class_names=(*source.class_names[1:], "zebra"))


def fewer(source):
    return dataclasses.replace(source, num_examples=30, images=source.images[:30], labels=source.labels[:30])


def more(source):
    images, labels = (np.concatenate([one, one[:10]]) for one in (source.images, source.labels))
    return dataclasses.replace(source, num_examples=50, images=images, labels=labels)


def others(source):
    return dataclasses.replace(source, images=255 - source.images)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed, "other classes: 'class 0' → 'zebra'"),
        (fewer, "fewer images: 40 images → 30"),
        (others, "another set: 40 of 40 sampled images are not in it"),
    ],
)
def test_a_run_resumed_on_other_images_is_refused_and_the_flag_allows_it(
    run, source, monkeypatch, capsys, change, said
):
    with pytest.raises(DataError, match=f"(?s)step 6 has learnt .*{said}.*--config.data.allow_changes"):
        resume(monkeypatch, run, change(source))
    assert json.loads((run / "classes.json").read_text())[0] == "class 0"
    assert resume(monkeypatch, run, change(source), **{"data.allow_changes": True}) == 0
    assert f"  images: {said}" in capsys.readouterr().out


def test_a_run_resumed_on_its_images_or_on_more_goes_on(run, source, monkeypatch, capsys):
    assert resume(monkeypatch, run, source) == 0
    assert "images:" not in capsys.readouterr().out
    assert resume(monkeypatch, run, more(source)) == 0
    assert "images: 10 more images in the known classes (40 images → 50)" in capsys.readouterr().out


def test_a_checkpoint_of_an_older_version_resumes_with_a_line(run, source, state, monkeypatch, capsys):
    shutil.rmtree(run / "checkpoints")
    record = Record(run, make_config(), source, lambda: None)
    record.checkpoints.save(STEP, state, {"unlogged": [], "watch": {}})
    record.checkpoints.wait()
    record.checkpoints.close()
    assert resume(monkeypatch, run, source) == 0
    line = "has no fingerprint of its images: only the names of its classes were compared"
    assert line in capsys.readouterr().out
    with pytest.raises(DataError, match="other classes: 'class 0' → 'zebra'"):
        resume(monkeypatch, run, renamed(source))


def test_names_of_classes_are_those_of_the_checkpoint_where_the_workdir_has_others(run, caplog):
    names = tuple(f"class {label}" for label in range(CLASSES))
    (run / "classes.json").write_text(json.dumps([*names[1:], "zebra"]))
    config = make_config()
    restored = restore(run, config, None)
    assert class_names(run, config, restored) == names
    assert "step 6 has learnt other classes than the run has now (other classes: 'class 0'" in caplog.text
    assert initialization._read(initialization.locate(str(run))).class_names == names  # of fine-tuning


def test_an_export_says_which_images_its_generator_has_learnt_from(run):
    restored = restore(run, make_config(), None)
    data = provenance(run, make_config(), restored)["data"]
    assert (data["source"], data["split"], data["images"]) == ("noise", "train", 40)
    assert data["fingerprint"] == recorded_images(restored).to_json()
