"""The classifier that this room's tests share: trained once."""

import pytest
from blobs import SETTINGS, make_blobs
from rich.console import Console

from biggan_jax.evaluation import classifier


@pytest.fixture(scope="session")
def blobs():
    """Training and test images with labels."""
    return make_blobs(300, seed=1), make_blobs(150, seed=2)


@pytest.fixture(scope="session")
def kept(tmp_path_factory, blobs):
    """A folder, and the classifier that was trained into it with `SETTINGS`."""
    folder = tmp_path_factory.mktemp("kept")
    return folder, classifier.obtain(*blobs, 3, folder, SETTINGS, Console(quiet=True))


@pytest.fixture
def no_training(monkeypatch):
    """Fails the test if a classifier is trained."""

    def refuse(*_):
        pytest.fail("trained a classifier")

    monkeypatch.setattr(classifier, "_train", refuse)
