"""The dry run: what it says and draws, and that it leaves the workdir free for the run."""

import re

import numpy as np
import pytest
from PIL import Image
from tiny_runs import make_config, noise_images  # noqa: F401

from biggan_jax.data import ArraySource
from biggan_jax.runtime.errors import UserError
from biggan_jax.training.run import dry_run as module
from biggan_jax.training.run import loop
from biggan_jax.training.run.dry_run import dry_run, image_grid


@pytest.fixture(autouse=True)
def noise_here_too(noise_images, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "open_source", loop.open_source)


def test_it_says_what_is_read_how_fast_and_how_often_and_stops(tmp_path, capsys):
    assert dry_run(make_config(total_steps=10), tmp_path) == 0
    out = capsys.readouterr().out
    assert "40 images, 5 classes: class 0, class 1, class 2, class 3, class 4\n" in out
    assert "a step reads 2 batches of 8; 10 steps, 4.0 epochs" in out  # 10 · 16 images of 40
    speed, steps = re.search(r"reads ([\d,]+) images/s .*: ([\d.e+]+) steps/s at most", out).groups()
    assert float(speed.replace(",", "")) / 16 == pytest.approx(float(steps), rel=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["dry_run.png"]


def test_the_sheet_has_each_image_in_its_place_below_its_class():
    images = np.zeros((64, 8, 8, 3), np.uint8)
    images[:] = np.arange(64)[:, None, None, None]
    source = ArraySource(
        name="grey",
        description="grey",
        num_examples=64,
        class_names=("a", "b"),
        resolution=8,
        images=images,
        labels=np.zeros(64, np.int32),
    )
    drawn = np.asarray(image_grid(images, np.arange(64) % 2, source))
    height = drawn.shape[0] // 8
    for row in range(8):
        strip = drawn[row * height : (row + 1) * height]
        for column in range(8):
            assert (strip[-50, 4 + column * 100 + 48] == 8 * row + column).all()


def test_an_impossible_config_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match="batch_size"):
        dry_run(make_config(batch_size=0), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_workdir_of_a_run_keeps_what_it_has(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    dry_run(make_config(), tmp_path)
    assert (tmp_path / "config.json").read_text() == "{}"
    assert Image.open(tmp_path / "dry_run.png").width == 4 + 8 * 100
