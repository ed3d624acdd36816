"""The two sources of Fashion-MNIST: which images each has on any machine, splits, padding and checks."""

import gzip
import logging
import shutil
import struct

import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.data import DataError, arrays, catalogue, open_source
from biggan_jax.data.fashion_mnist import official, packaged
from configs import fashion_mnist as demo


@pytest.fixture
def debian(monkeypatch, tmp_path):
    """A small copy of what Debian's package installs: 30 training and 20 test images."""
    rng = np.random.default_rng(0)
    written = {}
    for part, count in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape)
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
        written[part] = images, labels
    monkeypatch.setattr(official, "DEBIAN", tmp_path)
    return tmp_path, written


def test_the_packaged_images_are_split_without_overlap_into_all_10_000():
    train = open_source("fashion_mnist_10k", "train", resolution=32, num_classes=10)
    test = open_source("fashion_mnist_10k", "test", resolution=32, num_classes=10)
    assert (train.num_examples, test.num_examples) == (8000, 2000)
    together = np.concatenate([arrays(train)[0], arrays(test)[0]])[:, 2:-2, 2:-2, 0]
    with gzip.open(packaged.PACKAGED / "t10k-images-idx3-ubyte.gz") as file:
        stored = np.frombuffer(file.read(), np.uint8, offset=16).reshape(10_000, 28, 28)
    assert sorted(map(bytes, together)) == sorted(map(bytes, stored))
    assert "the 10,000 official test images, which come with the package; train: 8,000" in train.description


def test_the_packaged_split_never_changes():
    """Scores on the test split of another release would otherwise be of images that were trained on."""
    labels = arrays(open_source("fashion_mnist_10k", "test", resolution=32))[1]
    assert labels[:12].tolist() == [9, 4, 8, 6, 9, 4, 9, 4, 1, 4, 0, 6]
    assert np.bincount(labels).tolist() == [215, 204, 194, 190, 210, 193, 213, 183, 191, 207]


def test_every_class_is_in_both_packaged_splits():
    for split, expected in (("train", 800), ("test", 200)):
        labels = arrays(open_source("fashion_mnist_10k", split, resolution=32))[1]
        counts = np.bincount(labels, minlength=10)
        assert abs(counts - expected).max() < 60


@pytest.mark.parametrize("name", ["fashion_mnist_10k", "fashion_mnist"])
def test_the_packaged_source_has_the_same_images_where_all_70_000_are_installed(debian, name):
    """`fashion_mnist` meant 8,000 or 60,000 images by what a machine had, and a run resumed on others."""
    assert open_source(name, resolution=32).num_examples == 8000


def test_the_demo_learns_from_the_packaged_images():
    assert demo.get_config().data.source == "fashion_mnist_10k"


def test_the_official_source_has_the_official_splits_padded_in_black(debian):
    _, written = debian
    for split, part in (("train", "train"), ("test", "t10k")):
        source = open_source("fashion_mnist_60k", split, resolution=32)
        images, labels = arrays(source)
        stored_images, stored_labels = written[part]
        np.testing.assert_array_equal(labels, stored_labels)
        for channel in range(3):
            np.testing.assert_array_equal(images[:, 2:-2, 2:-2, channel], stored_images)
        assert images.sum() == 3 * stored_images.astype(int).sum()  # nothing but black around them
        assert source.name == "fashion_mnist_60k"


def test_the_official_source_is_refused_where_it_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(official, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(DataError, match="install Debian's dataset-fashion-mnist, or give tfds:fa"):
        open_source("fashion_mnist_60k", resolution=32)


def test_the_old_name_is_read_as_the_packaged_source_with_one_line(caplog):
    catalogue._warn_of_old_name.cache_clear()
    config = default_config()
    config.data.source = "fashion_mnist"
    with caplog.at_level(logging.WARNING):
        sources = [open_source(config.data.source, split, resolution=32) for split in ("train", "test")]
    assert [source.name for source in sources] == ["fashion_mnist_10k"] * 2
    (line,) = caplog.messages
    assert "'fashion_mnist' is an old name, read as fashion_mnist_10k: the 10,000 official test" in line
    assert "all 60,000 training images under the old name needs fashion_mnist_60k" in line


def test_classes_are_named():
    source = open_source("fashion_mnist_10k", resolution=32)
    assert source.num_classes == 10
    assert source.class_names[0] == "T-shirt/top" and source.class_names[9] == "Ankle boot"


def test_labels_and_images_of_different_number_are_refused(debian):
    folder, _ = debian
    shutil.copy(folder / "t10k-labels-idx1-ubyte.gz", folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match="30 images, but train-labels-idx1-ubyte.gz has 20 labels"):
        open_source("fashion_mnist_60k", resolution=32)


@pytest.mark.parametrize("name", ["fashion_mnist_10k", "fashion_mnist_60k"])
@pytest.mark.parametrize("resolution", [16, 28, 64])
def test_other_resolutions_are_refused(name, resolution):
    with pytest.raises(DataError, match=rf"{name} comes .* not in {resolution}: set model.resolution=32"):
        open_source(name, resolution=resolution)


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="no split 'validation': set data.split to one of train, test"):
        open_source("fashion_mnist_10k", "validation", resolution=32)
