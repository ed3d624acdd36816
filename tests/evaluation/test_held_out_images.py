"""Evaluations are refused on other images than the generator's, and held-out images are none of its own."""

import dataclasses

import pytest
from blob_runs import NAMES, make_config, open_blobs, write_run
from blobs import SIZE
from evaluating import evaluate_run

from biggan_jax.data import DataError
from biggan_jax.data.fingerprint import fingerprint
from biggan_jax.evaluation import reference
from biggan_jax.evaluation.learnt_images import refuse_other_images
from biggan_jax.evaluation.reference import Reference, open_reference
from biggan_jax.evaluation.request import EvaluationRequest
from biggan_jax.evaluation.sample_sources import SampleSource
from biggan_jax.runtime.errors import UserError

BLOBS = {split: open_blobs("blobs", split, resolution=SIZE) for split in ("train", "test")}


def generator(images):
    fields = dict.fromkeys(("model", "sampler_at", "origin"), None)
    rest = dict(truncation_kind="threshold", truncation=0.0, data_source="blobs", split="train")
    about = dict(random_flip=False, description="", owner="the export toys", learnt_images=images)
    return SampleSource(**fields, **rest, **about)


def check(images, training, held_out=None, **fields):
    request = EvaluationRequest(folder=None, **fields)
    return refuse_other_images(request, generator(images), training, held_out)


def renamed(source, *names):
    return dataclasses.replace(source, class_names=names)


def test_a_run_is_not_evaluated_on_images_that_it_has_not_learnt(untouched_run, monkeypatch):
    write_run(untouched_run, make_config(), step=9, images=renamed(BLOBS["train"], "blue", "green", "red"))
    with pytest.raises(
        DataError, match="(?s)step 9 has learnt .*another order: label 0 was 'blue', is 'red'"
    ):
        evaluate_run(untouched_run)


def test_the_generators_own_images_pass_and_others_need_the_flag():
    own = fingerprint(BLOBS["train"], "train")
    assert check(own, BLOBS["train"], BLOBS["test"]) == []
    with pytest.raises(DataError, match="(?s)the export toys has learnt.*fewer images: 300 images → 150"):
        check(own, BLOBS["test"])
    assert check(own, BLOBS["test"], allow_changes=True)[0].startswith("images: fewer images")


def test_another_reference_may_have_other_classes_but_none_under_another_label():
    own = fingerprint(BLOBS["train"], "train")
    (line,) = check(own, renamed(BLOBS["test"], "n01", "n02", "n03"), reference="folder:x")
    assert "has learnt from blobs, train, not from the training images of blobs" in line
    assert check(own, renamed(BLOBS["train"], "n01", "n02", "n03"), reference="folder:x") == []
    moved = renamed(BLOBS["test"], "green", "red", "blue")
    for names in (own, NAMES):  # of an export without a fingerprint the names are known
        with pytest.raises(UserError, match="another order: 'green' has label 1 there and label 0 here"):
            check(names, moved, reference="folder:x")
    assert check(NAMES, moved, reference="folder:x", allow_changes=True) == []


def test_held_out_images_that_the_generator_has_learnt_are_refused():
    """The report called 8,000 of a run's own training images "held out"."""
    own = fingerprint(BLOBS["train"], "train")
    with pytest.raises(UserError, match="learnt from the held-out images of blobs: 64 of 64 sampled"):
        check(own, BLOBS["test"], BLOBS["train"], reference="blobs")


def test_a_few_images_that_a_set_contains_twice_are_warned_of(caplog):
    images = BLOBS["test"].images.copy()
    images[:2] = BLOBS["train"].images[:2]
    Reference(BLOBS["train"], dataclasses.replace(BLOBS["test"], images=images))
    (line,) = caplog.messages
    assert line.startswith("2 of 150 held-out images (blobs; test: 150) are training images too")


def test_training_images_are_no_held_out_images(monkeypatch):
    with pytest.raises(UserError, match="300 of 300 held-out images .* are training images too"):
        Reference(BLOBS["train"], BLOBS["train"])
    monkeypatch.setattr(reference, "open_source", open_blobs)
    with pytest.raises(UserError, match="give splits without common images"):
        open_reference("blobs", SIZE, train_split="train", test_split="train")
