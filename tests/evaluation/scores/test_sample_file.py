"""Sample files: what is written comes back, and what is no samples is refused with the remedy."""

import numpy as np
import pytest

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sample_file import read_samples, write_samples

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)


def read(tmp_path, *arrays, **named):
    np.savez(tmp_path / "samples.npz", *arrays, **named)
    return read_samples(tmp_path / "samples.npz", resolution=8, num_classes=3)


def test_what_is_written_comes_back(tmp_path):
    labels = np.arange(6, dtype=np.int32) % 3
    write_samples(tmp_path / "samples.npz", IMAGES, labels)
    images, read_labels = read_samples(tmp_path / "samples.npz", 8, 3)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(read_labels, labels)
    with np.load(tmp_path / "samples.npz") as file:
        assert file.files == ["arr_0", "arr_1"]


def test_labels_may_be_missing_or_of_64_bits(tmp_path):
    assert read(tmp_path, IMAGES)[1] is None
    assert read(tmp_path, IMAGES, np.array([0, 1, 2, 0, 1, 2]))[1].dtype == np.int32


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (IMAGES.astype("f") / 127.5 - 1, r"values from -1 to 1; .*: write \(\(x \+ 1\) \* 127.5\).round\(\)"),
        (IMAGES / 255.0, r"float64 images with values from 0 to 1; .*: write \(x \* 255\).round\(\)"),
        (IMAGES.astype("f"), r"float32 images with values from 0 to 255; .*: write x.round\(\)"),
        (IMAGES.astype("f") * 2 - 255, "from -255 to 255; .*: scale them to this range"),
        (np.full((6, 8, 8, 3), np.nan), "1,152 of 1,152 values not finite; .* from 0 to 255$"),
        (np.where(IMAGES > 5, IMAGES / 255.0, np.nan), r"from 0.02353 to 1, \d+ of 1,152 values not finite"),
        (IMAGES.transpose(0, 3, 1, 2), "move the channels last"),
        (IMAGES[..., 0], r"\[6, 8, 8\], must be \[N, height, width, 3\]"),
        (IMAGES[:0], "holds no images"),
        (IMAGES[:, :4, :4], "4 × 4 pixels, and the real images have 8 × 8"),
    ],
)
def test_images_of_another_kind_are_refused_with_the_remedy(tmp_path, images, complaint):
    with pytest.raises(UserError, match=complaint):
        read(tmp_path, images)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (np.arange(5), r"int64\[5\] for 6 images"),
        (np.zeros(6), r"float64\[6\]"),
        (np.eye(6, dtype=int), r"int64\[6, 6\]"),
        (np.arange(6) % 4, "from 0 to 3, must be 0 to 2"),
        (np.arange(6) - 4, "from -4 to 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, complaint):
    with pytest.raises(UserError, match=complaint):
        read(tmp_path, IMAGES, labels)


def test_labels_beyond_int32_are_refused_where_the_number_of_classes_is_unknown(tmp_path):
    write_samples(tmp_path / "samples.npz", IMAGES, np.full(6, 2**40))
    with pytest.raises(UserError, match=r"to 1099511627776, must be 0 to 2\*\*31 - 1"):
        read_samples(tmp_path / "samples.npz")


def test_a_file_of_statistics_is_no_file_of_samples(tmp_path):
    with pytest.raises(UserError, match="has no 'arr_0', only mu, sigma"):
        read(tmp_path, mu=np.zeros(3), sigma=np.eye(3))
