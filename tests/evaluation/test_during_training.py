"""Evaluation during training: the scores of the evaluator, with kept classifier and statistics."""

import io
import json

import jax
import numpy as np
import pytest
from blob_runs import make_config, open_blobs, random_state, write_run
from blobs import SETTINGS
from etils import epath
from rich.console import Console

from biggan_jax.evaluation import during_training, evaluator, reference
from biggan_jax.evaluation.during_training import TrainingEvaluation
from biggan_jax.evaluation.networks import extraction
from biggan_jax.evaluation.request import EvaluationRequest
from biggan_jax.runtime.errors import UserError


@pytest.fixture
def workdir(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(reference, "open_source", open_blobs)
    for module in (during_training, evaluator):
        monkeypatch.setattr(module, "ClassifierSettings", lambda random_flip: SETTINGS)
    folder = tmp_path / "evaluation"
    folder.mkdir()
    for path in kept[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return epath.Path(tmp_path)


def evaluation(workdir, **fields):
    config = make_config(**{"evaluation.num_samples": 40} | fields)
    source = open_blobs("blobs", resolution=config.model.resolution)
    return TrainingEvaluation(config, source, workdir, Console(quiet=True))


def scores(workdir, **fields):
    state = random_state(make_config())
    return evaluation(workdir, **fields).scores(state.ema_params, state.generator.u)


@pytest.mark.slow
def test_the_numbers_are_those_of_the_evaluator_with_as_many_samples(workdir):
    found = scores(workdir)
    config = make_config(**{"sampling.truncation": 0.5})  # of the sheets, not of scores
    assert scores(workdir, **{"sampling.truncation": 0.5}) == found
    write_run(workdir, config)
    request = EvaluationRequest(workdir=workdir, folder=workdir, num_samples=40)
    report = evaluator.evaluate(request, Console(quiet=True)).report.to_json()
    assert found == {
        name: pytest.approx(report["scores"][name]["value"], rel=1e-9)
        for name in ("fid@classifier", "is@classifier")
    }
    about = json.loads((workdir / "evaluation" / "during_training.json").read_text())
    assert about["network"] == report["network"] and about["num_samples"] == 40
    assert about["truncation"] == 0 and about["statistics"]["mode"] == "standing"
    assert about["reference_images"] == 300


@pytest.mark.slow
def test_a_second_evaluation_and_a_resumed_run_extract_no_features_of_real_images_again(workdir, monkeypatch):
    state = random_state(make_config())
    first = evaluation(workdir)
    found = first.scores(state.ema_params, state.generator.u)
    monkeypatch.setattr(during_training, "extract_statistics", None)
    assert first.scores(state.ema_params, state.generator.u) == found
    assert scores(workdir) == pytest.approx(found, rel=1e-12)


@pytest.mark.slow
def test_statistics_of_other_images_or_damaged_ones_are_taken_anew(workdir, caplog):
    found = scores(workdir)
    part = scores(workdir, **{"evaluation.reference_images": 100})
    assert part["fid@classifier"] != found["fid@classifier"]
    assert part["is@classifier"] == found["is@classifier"]
    kept = sorted((workdir / "evaluation").glob("reference-*.npz"))
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    assert scores(workdir) == pytest.approx(found, rel=1e-12)
    assert "recomputing the statistics of the real images" in caplog.text


@pytest.mark.slow
def test_other_weights_have_other_scores(workdir):
    config = make_config(**{"evaluation.num_samples": 40})
    state = random_state(config)
    found = scores(workdir)
    params = jax.tree.map(lambda x: 0.5 * x, state.ema_params)
    assert evaluation(workdir).scores(params, state.generator.u) != found


@pytest.mark.slow
def test_a_network_without_logits_gives_fid_alone(workdir):
    assert scores(workdir, **{"evaluation.network": f"{__name__}:means"}).keys() == {f"fid@{__name__}:means"}


def means(images):
    return np.float32(images.mean(axis=(1, 2)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"evaluation.num_samples": 9}, "config.evaluation.num_samples = 9: give at least 10"),
        ({"data.split": "train[:90%]"}, r"no split validation or test: train with --config.data.split"),
        ({"evaluation.network": "inceptoin"}, "unknown feature network 'inceptoin'"),
        ({"evaluation.network": "inception:/nowhere.pth"}, "cannot read Inception's weights /nowhere.pth"),
        ({"evaluation.network": "no_such:module"}, "no_such:module cannot be imported"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_when_the_run_begins(workdir, fields, words):
    with pytest.raises(UserError, match=words):
        evaluation(workdir, **fields)


@pytest.mark.slow
def test_progress_is_shown_where_there_is_a_terminal(workdir):
    config = make_config(**{"evaluation.num_samples": 40})
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    state = random_state(config)
    TrainingEvaluation(config, open_blobs("blobs", resolution=16), workdir, console).scores(
        state.ema_params, state.generator.u
    )
    assert "evaluating" in shown.getvalue() and "real images" in shown.getvalue()


def test_few_images_leave_some_processes_without_any(monkeypatch):
    """As if the second of two processes had no images: its empty moments change nothing."""
    from biggan_jax.evaluation.scores.moments import Moments

    moments = Moments()
    moments.update(np.random.default_rng(0).normal(size=(5, 3)))
    packed = [moments.pack(), Moments().pack()]
    width = max(map(len, packed))

    def both(numbers):
        if numbers.size == 1:
            return np.array([[len(row)] for row in packed], np.uint32)
        return np.stack([np.pad(row, (0, width - len(row))) for row in packed])

    monkeypatch.setattr(extraction, "_of_each", both)
    merged = extraction.merge_across_processes(moments).statistics()
    np.testing.assert_array_equal(merged.covariance, moments.statistics().covariance)
