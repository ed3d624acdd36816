"""Evaluates the run on blobs that the fixture `run` writes, or images in place of its samples."""

from typing import Any, NamedTuple

from etils import epath
from rich.console import Console

from biggan_jax.evaluation import evaluator, sample_sources
from biggan_jax.evaluation.request import EvaluationRequest


class Result(NamedTuple):
    report: dict[str, Any]  # the contents of evaluation.json
    pictures: dict[str, bytes]


def evaluate_run(run, **fields):
    request = {"workdir": epath.Path(run), "folder": epath.Path(run), "num_samples": 30}
    result = evaluator.evaluate(EvaluationRequest(**request | fields), Console(quiet=True))
    return Result(result.report.to_json(), result.pictures)


def value(report, name):
    return report["scores"][f"{name}@classifier"]["value"]


def section(report, number):
    (found,) = (item for item in report["beyond_is"] if item["blind_spot"] == number)
    return found


class Posing:
    """A sampler that returns given images for all labels and latents."""

    def __init__(self, images):
        self.images, self.resolution = images, images.shape[1]

    def __call__(self, *_, **__):
        return self

    def sample(self, labels, truncation=None, seed=0, start=0):
        return self.images[start : start + len(labels)]


def evaluate_images(run, monkeypatch, images, **fields):
    """Evaluates images in the order of labels 0, 1, 2, 0, … in place of the samples of the run."""
    monkeypatch.setattr(sample_sources, "Sampler", Posing(images))
    return evaluate_run(run, num_samples=len(images), **fields).report


def thumbnails_of_two(images):
    """A feature network of these tests."""
    means = images.reshape(len(images), 4, -1).mean(axis=2)
    return means, means


def features_alone(images):
    return images.mean(axis=(1, 2))
