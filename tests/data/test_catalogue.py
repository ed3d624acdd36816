"""Names of sources, and the check of their classes against the model's."""

import logging

import pytest

from biggan_jax.data import open_source
from biggan_jax.runtime.errors import UserError


@pytest.mark.parametrize(
    "name", ["fashion-mnist", "cifar10", "tfds:", "folder:", "prepared:", "pictures:/data", ""]
)
def test_an_unknown_source_is_refused_with_the_known_ones(name):
    with pytest.raises(
        UserError, match="is unknown: give fashion_mnist, tfds:NAME .* folder:PATH .* prepared:PATH"
    ):
        open_source(name, resolution=32)


def test_more_labels_than_the_model_has_classes_are_refused():
    with pytest.raises(
        UserError, match=r"labels 0 to 9, but model.num_classes = 5: set model.num_classes=10"
    ):
        open_source("fashion_mnist", resolution=32, num_classes=5)


def test_classes_without_images_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        open_source("fashion_mnist", resolution=32, num_classes=12)
    assert "10 classes, model.num_classes = 12" in caplog.text
