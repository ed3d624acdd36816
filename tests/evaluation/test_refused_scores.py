"""Scores that are not meaningful: refused in JSON, in the terminal, on the page, and for `best`."""

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from blob_runs import make_config, open_blobs, random_state, write_run
from blobs import make_blobs
from evaluating import Posing, evaluate_run
from pages import Page
from rich.console import Console

from biggan_jax.evaluation import during_training, reference, sample_sources
from biggan_jax.evaluation.during_training import TrainingEvaluation
from biggan_jax.evaluation.networks import classifier
from biggan_jax.evaluation.report.html_report import render_html
from biggan_jax.evaluation.report.schema import Report
from biggan_jax.evaluation.report.terminal import render_report
from biggan_jax.runtime.errors import UserError
from biggan_jax.training.run.checkpoints import Checkpoints
from biggan_jax.training.run.saved_run import best_step

BEST = {"checkpoints.best": 1, "checkpoints.metric": "fid@classifier", "evaluation.every": 1}


@pytest.fixture
def nothing_is_learnt(monkeypatch):
    """The weights of classifiers stay zero."""

    def zeros(data, num_classes, settings, console):
        shapes = classifier.variable_shapes(data[0].shape[1], num_classes, settings)
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)

    monkeypatch.setattr(classifier, "train", zeros)


def open_reds(*names, **fields):
    """The blobs as one class."""
    source = open_blobs(*names, **fields)
    return dataclasses.replace(source, labels=np.zeros_like(source.labels), class_names=("blob",))


def printed(report):
    console = Console(file=io.StringIO(), width=110, record=True)
    console.print(render_report(Report.from_json(report)))
    return " ".join(console.export_text().split())


@pytest.mark.parametrize("one_class", [False, True])
def test_scores_by_a_classifier_that_learnt_nothing_are_not_meaningful(
    untouched_run, monkeypatch, nothing_is_learnt, one_class
):
    if one_class:
        monkeypatch.setattr(reference, "open_source", open_reds)
    monkeypatch.setattr(sample_sources, "Sampler", Posing(make_blobs(30, seed=6)[0]))
    result = evaluate_run(untouched_run, truncations=(0.5,))
    report = result.report
    reason = "the data has one class" if one_class else "the classifier has learnt nothing"
    names = {"is", "fid", "kid", "precision", "recall", "density", "coverage", "recognised", "diversity"}
    assert report["scores"].keys() >= {f"{name}@classifier" for name in names - {"diversity"}}
    for score in report["scores"].values():
        assert score["value"] is None and score["held_out"] is None and score["meaningful"] is False
        assert reason in score["reason"] and score["network"]["network"] == "classifier"
    (note,) = report["notes"]
    assert f"Scores by classifier are not meaningful: {reason}" in note and "--network=inception" in note
    assert not any(item["measured"] or item["flagged"] for item in report["beyond_is"])
    assert all(reason in item["sentence"] for item in report["beyond_is"])
    assert report["confusion"] is None and report["truncations"] == [] and report["nearest"] == []
    assert all(row.keys() == {"label", "name", "num_samples"} for row in report["classes"])
    assert result.pictures.keys() == {"evaluation.png"}
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert Report.from_json(report).to_json() == report

    text = printed(report)
    assert text.count("not meaningful") == len(report["scores"]) + 2 and f"! {note}" in text
    page = Page(render_html(Report.from_json(report), result.pictures, None))
    assert page.texts("p", "note") == [note] and "Classes" not in page.texts("h2")
    rows = {row for row in page.texts("tr") if "@" in row}
    assert "fid@classifiernot meaningful–" in rows and "recognised@classifiernot meaningful–" in rows


def test_a_classifier_of_an_earlier_version_is_tested_again_and_not_trained(
    tmp_path, blobs, kept, no_training
):
    (path,) = (path for path in kept[0].iterdir() if path.suffix == ".safetensors")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = header["__metadata__"]
    header["__metadata__"] = {name: about[name] for name in ("hash", "test_images", "test_accuracy")}
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    (tmp_path / path.name).write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :])
    settings = kept[1].settings
    found = classifier.obtain(*blobs, 3, tmp_path, settings, Console(quiet=True))
    assert found.test == kept[1].test and found.hash == kept[1].hash
    assert b"test_loss" in (tmp_path / path.name).read_bytes()  # the next evaluation need not test it


def test_no_checkpoint_is_best_by_a_score_that_is_not_meaningful(
    tmp_path_factory, untouched_run, monkeypatch, nothing_is_learnt, caplog
):
    monkeypatch.setattr(during_training, "ClassifierSettings", lambda random_flip: SMALL)
    config = make_config(**BEST | {"evaluation.num_samples": 30})
    source = open_blobs("blobs", resolution=16)
    evaluation = TrainingEvaluation(config, source, untouched_run, Console(quiet=True))
    state = random_state(config)
    assert evaluation.scores(state.ema_params, state.generator.u) == {}
    assert evaluation.scores(state.ema_params, state.generator.u) == {}
    (record,) = [record for record in caplog.records if "not meaningful" in record.message]
    assert "checkpoints.best keeps none by fid@classifier" in record.message
    assert "config.evaluation.network to inception" in record.message

    workdir = untouched_run / "ranked"
    workdir.mkdir()
    write_run(workdir, config, scores={"d_loss": 1.0})
    checkpoints = Checkpoints(workdir / "checkpoints", config, read_only=True)
    assert checkpoints.best is None and len(checkpoints.steps) == 1
    with pytest.raises(UserError, match="not meaningful is left out"):
        best_step(workdir, config)


SMALL = classifier.ClassifierSettings(widths=(8, 16))


def test_a_classifier_of_one_class_is_refused_when_the_run_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "open_source", open_reds)
    config = make_config(**{"evaluation.num_samples": 40})
    with pytest.raises(UserError, match="the data has one class.*config.evaluation.network to inception"):
        TrainingEvaluation(config, open_reds("blobs", resolution=16), tmp_path, Console(quiet=True))


def test_cas_of_one_class_is_refused(run, monkeypatch):
    monkeypatch.setattr(reference, "open_source", open_reds)
    with pytest.raises(UserError, match="--cas: a classifier of one class"):
        evaluate_run(run, cas=True)
