"""What the playground page offers and shows, without Gradio and a browser."""

from pathlib import Path

import numpy as np
import pytest
from tiny_exports import SIZE, make_exported

from biggan_jax.sampling.playground_images import (
    ImageSource,
    class_choices,
    download_path,
    image_grid,
    latent_and_image,
    truncation_choice,
)
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import MARGIN, SMALLEST_TILE


def test_a_class_of_any_name_is_shown_on_one_line_and_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = ("a\nb", "half \ud800", "x" * 260, "می‌خواهم", "")
    exported = make_exported(names=names, **{"model.num_classes": 5})
    texts = [text for text, _ in class_choices(Sampler(exported))]
    assert texts == ["0: a\ufffdb", "1: half \ufffd", f"2: {'x' * 260}", "3: می‌خواهم", "4: "]
    for text in texts:
        path = Path(download_path(f"{text}.png"))
        assert path.parent.parent == tmp_path and path.suffix == ".png"
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("truncations", "kind", "choice"),
    [
        ((0.5, 1.5, 0.0), "threshold", (0.5, 1.5, True, True, True)),
        ((0.5, 1.5), "threshold", (0.5, 1.5, True, False, False)),
        ((0.0,), "threshold", (0, 1, False, True, True)),
        ((0.0, 0.5, 1.0), "scale", (0.0, 1.0, True, True, True)),
    ],
)
def test_the_truncations_offered_are_those_with_statistics(truncations, kind, choice):
    assert truncation_choice(Sampler(make_exported(truncations, kind))) == choice


def test_classes_are_offered_by_number_and_name_or_by_number_alone():
    named, nameless = Sampler(make_exported()), Sampler(make_exported(names=()))
    assert class_choices(named) == [("0: sandal", 0), ("1: bag", 1), ("2: ankle boot", 2)]
    assert class_choices(nameless) == [("class 0", 0), ("class 1", 1), ("class 2", 2)]


def test_an_image_is_generated_again_from_its_source():
    sampler = Sampler(make_exported(), batch_size=2)
    images = sampler.sample([1] * 5, 0.5, seed=3)
    z, image = latent_and_image(sampler, ImageSource(1, 3, 4, 0.5))
    np.testing.assert_array_equal(image[0], images[4])
    np.testing.assert_array_equal(z, sampler.latents(5, 0.5, 3)[4:])


def test_the_grid_fills_the_last_row_with_white():
    images = np.zeros((5, SIZE, SIZE, 3), np.uint8)
    pixels = np.asarray(image_grid(images, ["sandal"]))
    last_row = pixels[-SMALLEST_TILE - MARGIN : -MARGIN]
    assert (last_row[:, MARGIN : MARGIN + SMALLEST_TILE] == 0).all()
    assert (last_row[:, MARGIN + SMALLEST_TILE :] == 255).all()


def test_a_download_keeps_a_safe_name_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first, second = (Path(download_path("../red <b>one</b>.png")) for _ in range(2))
    assert first.name == ".._red _b_one__b_.png" and first.parent != second.parent
    assert first.parent.parent == tmp_path
