"""The classifier and the run that these tests share. Each is made once."""

import shutil

import pytest
from blob_runs import make_config, open_blobs, write_run
from blobs import SETTINGS, make_blobs
from rich.console import Console

from biggan_jax.evaluation import evaluator, reference
from biggan_jax.evaluation.networks import classifier
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.locks import exclusive


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """An empty cache for each test: a classifier in it would not be trained again."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BIGGAN_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def blobs():
    """Training and test images with labels."""
    return make_blobs(300, seed=1), make_blobs(150, seed=2)


@pytest.fixture(scope="session")
def kept(tmp_path_factory, blobs):
    """A folder, and its classifier with `SETTINGS`, which one worker trains into the session's cache."""
    folder = tmp_path_factory.mktemp("kept")
    with exclusive(cache_folder(), "classifier", "training"):
        return folder, classifier.obtain(*blobs, 3, folder, SETTINGS, Console(quiet=True))


@pytest.fixture
def no_training(monkeypatch):
    """Fails the test if a classifier is trained."""

    def refuse(*_):
        pytest.fail("trained a classifier")

    monkeypatch.setattr(classifier, "train", refuse)


@pytest.fixture(scope="session")
def pristine_run(tmp_path_factory, kept):
    workdir = tmp_path_factory.mktemp("run")
    write_run(workdir, make_config())
    shutil.copytree(kept[0], workdir / "evaluation")
    return workdir


@pytest.fixture
def run(tmp_path, pristine_run, monkeypatch):
    """The workdir of a run on blobs that has a checkpoint and a classifier."""
    shutil.copytree(pristine_run, tmp_path, dirs_exist_ok=True)

    monkeypatch.setattr(reference, "open_source", open_blobs)
    monkeypatch.setattr(evaluator, "ClassifierSettings", lambda random_flip: SETTINGS)
    return tmp_path


@pytest.fixture
def untouched_run(run, no_training):
    """The same before its first evaluation; fails the test if a classifier is trained."""
    shutil.rmtree(run / "evaluation")
    return run
