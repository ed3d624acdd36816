"""Fashion-MNIST from each of its places, its splits, padding and checks."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from biggan_jax.data import DataError, arrays, fashion_mnist, open_source


@pytest.fixture
def packaged_only(monkeypatch, tmp_path):
    """A machine on which only this package's own copy is to be found."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))


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
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path)
    return tmp_path, written


def test_the_packaged_images_are_split_without_overlap_into_all_10_000(packaged_only):
    train = open_source("fashion_mnist", "train", resolution=32, num_classes=10)
    test = open_source("fashion_mnist", "test", resolution=32, num_classes=10)
    assert (train.num_examples, test.num_examples) == (8000, 2000)
    together = np.concatenate([arrays(train)[0], arrays(test)[0]])[:, 2:-2, 2:-2, 0]
    with gzip.open(fashion_mnist.PACKAGED / "t10k-images-idx3-ubyte.gz") as file:
        stored = np.frombuffer(file.read(), np.uint8, offset=16).reshape(10_000, 28, 28)
    assert sorted(map(bytes, together)) == sorted(map(bytes, stored))
    assert "10,000 images that come with the package; train: 8,000" in train.description


def test_the_packaged_split_never_changes(packaged_only):
    """Scores on the test split of another release would otherwise be of images that were trained on."""
    labels = arrays(open_source("fashion_mnist", "test", resolution=32))[1]
    assert labels[:12].tolist() == [9, 4, 8, 6, 9, 4, 9, 4, 1, 4, 0, 6]
    assert np.bincount(labels).tolist() == [215, 204, 194, 190, 210, 193, 213, 183, 191, 207]


def test_every_class_is_in_both_packaged_splits(packaged_only):
    for split, expected in (("train", 800), ("test", 200)):
        labels = arrays(open_source("fashion_mnist", split, resolution=32))[1]
        counts = np.bincount(labels, minlength=10)
        assert abs(counts - expected).max() < 60


def test_debians_copy_is_preferred_with_its_own_splits_and_padded_in_black(debian):
    _, written = debian
    for split, part in (("train", "train"), ("test", "t10k")):
        source = open_source("fashion_mnist", split, resolution=32)
        images, labels = arrays(source)
        stored_images, stored_labels = written[part]
        np.testing.assert_array_equal(labels, stored_labels)
        for channel in range(3):
            np.testing.assert_array_equal(images[:, 2:-2, 2:-2, channel], stored_images)
        assert images.sum() == 3 * stored_images.astype(int).sum()  # nothing but black around them
        assert "all 70,000" in source.description


def test_a_prepared_tfds_copy_is_used_where_debians_is_missing(monkeypatch, packaged_only):
    calls = []
    prepared = open_source("fashion_mnist", resolution=32)

    class Prepared:
        images, labels = prepared.images[:50, 2:-2, 2:-2], prepared.labels[:50]

    monkeypatch.setattr(fashion_mnist.tfds_images, "is_prepared", lambda name: name == "fashion_mnist")
    monkeypatch.setattr(fashion_mnist.tfds_images, "open_split", lambda *args: calls.append(args) or Prepared)
    source = open_source("fashion_mnist", "test", resolution=32)
    assert calls == [("fashion_mnist", "test", 28)]
    np.testing.assert_array_equal(source.images, prepared.images[:50])
    assert "TensorFlow Datasets" in source.description


def test_classes_are_named(packaged_only):
    source = open_source("fashion_mnist", resolution=32)
    assert source.num_classes == 10
    assert source.class_names[0] == "T-shirt/top" and source.class_names[9] == "Ankle boot"


def test_labels_and_images_of_different_number_are_refused(debian):
    folder, _ = debian
    shutil.copy(folder / "t10k-labels-idx1-ubyte.gz", folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match="30 images, but train-labels-idx1-ubyte.gz has 20 labels"):
        open_source("fashion_mnist", resolution=32)


@pytest.mark.parametrize("resolution", [16, 28, 64])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(DataError, match=rf"not in {resolution}: set model.resolution=32"):
        open_source("fashion_mnist", resolution=resolution)


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="no split 'validation': set data.split to one of train, test"):
        open_source("fashion_mnist", "validation", resolution=32)
