"""Names of sources, what is known of them unopened, and the check of their classes against the model's."""

import subprocess
import sys

import pytest

from biggan_jax.data import open_source
from biggan_jax.data.catalogue import (
    SOURCES,
    SourceKind,
    is_path,
    known_classes,
    open_splits,
    without_directories,
)
from biggan_jax.runtime.errors import UserError


@pytest.mark.parametrize(
    "name",
    [
        "fashion-mnist",
        "fashion_mnist_10k:train",
        "cifar10",
        "tfds:",
        "folder:",
        "prepared:",
        "pictures:/data",
        "",
    ],
)
def test_an_unknown_source_is_refused_with_the_known_ones(name):
    with pytest.raises(
        UserError,
        match="is unknown: give fashion_mnist_10k, fashion_mnist_60k, tfds:NAME .*, or prepared:PATH",
    ):
        open_source(name, resolution=32)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("fashion_mnist_10k", 10),
        ("fashion_mnist_60k", 10),
        ("fashion_mnist", 10),
        ("tfds:cifar100", 100),
        ("tfds:imagenet2012:5.1.0", 1000),
        ("tfds:cifar10/config", 10),
        ("tfds:flowers", None),
        ("folder:cifar10", None),
        ("cifar10", None),
    ],
)
def test_the_config_learns_the_number_of_classes_from_the_name_alone(name, classes):
    assert known_classes(name) == classes


def test_a_path_in_a_name_is_shortened_and_a_name_that_is_none_stays():
    assert without_directories("folder:/home/somebody/cats") == "folder:cats"
    assert without_directories("prepared:gs://bucket/data/cats64") == "prepared:cats64"
    assert without_directories("tfds:cats/small") == "tfds:cats/small"
    assert [is_path(name) for name in ("folder:a", "prepared:a", "tfds:a", "fashion_mnist_10k")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_source_is_one_module_and_one_line(monkeypatch, tmp_path):
    (tmp_path / "stripes.py").write_text(
        "import numpy as np\n"
        "from biggan_jax.data import ArraySource\n"
        "def open_split(argument, split, resolution, *, max_refused):\n"
        "    images = np.zeros((4, resolution, resolution, 3), np.uint8)\n"
        "    return ArraySource(name=f'stripes:{argument}', description=split, num_examples=4,\n"
        "        class_names=('a', 'b'), resolution=resolution, images=images, labels=np.zeros(4, 'i4'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SOURCES, "stripes", SourceKind("stripes", "stripes:WIDTH", classes={"3": 2}))
    source = open_source("stripes:3", "test", resolution=8)
    assert (source.name, source.description, known_classes("stripes:3")) == ("stripes:3", "test", 2)
    with pytest.raises(UserError, match="stripes:WIDTH"):
        open_source("stripes", resolution=8)
    with pytest.raises(UserError, match="need no preparation"):
        open_splits("stripes:3", 8, 0.01)


def test_the_table_is_read_without_tensorflow_jax_or_the_modules_of_sources():
    script = (
        "import sys, biggan_jax.data.catalogue\n"
        "heavy = {'tensorflow', 'jax', 'biggan_jax.data.folder', 'biggan_jax.data.tfds_images'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_more_labels_than_the_model_has_classes_are_refused():
    with pytest.raises(
        UserError, match=r"labels 0 to 9, but model.num_classes = 5: set model.num_classes=10"
    ):
        open_source("fashion_mnist_10k", resolution=32, num_classes=5)


def test_classes_without_images_are_refused_with_both_numbers_and_the_remedy():
    with pytest.raises(
        UserError, match=r"10 classes, but model.num_classes = 12, .*give --config.model.num_classes=10"
    ):
        open_source("fashion_mnist_10k", resolution=32, num_classes=12)


def test_a_model_can_be_evaluated_on_some_of_its_classes():
    source = open_source("fashion_mnist_10k", resolution=32, num_classes=12, fewer_classes=True)
    assert source.num_classes == 10
