"""What an export says of the run it came of: scores of that step, and nothing of this machine."""

import json
import logging

import jax
import pytest
from etils import epath
from tiny_workdirs import make_run_config

import biggan_jax
from biggan_jax.config import config_to_json
from biggan_jax.runtime.json_digest import json_digest
from biggan_jax.training.run.checkpoints import Restored
from biggan_jax.training.run.provenance import provenance

NETWORK = {"network": "classifier", "input_size": 8, "resize": "none", "weights_hash": "abc"}
ABOUT = {
    "network": NETWORK,
    "num_samples": 5_000,
    "truncation": 0.0,
    "seed": 3,
    "reference": {"source": "folder:/home/somebody/pictures", "description": "/home/somebody/pictures"},
}
REPORT = ABOUT | {
    "step": 30,
    "num_samples": 2_000,
    "scores": {
        "fid@classifier": {"value": 4.0, "sentence": "in /home/somebody", "held_out": {"value": 1.0}},
        "kid@classifier": {"value": 0.1, "standard_error": 0.01},
    },
}


def found_in(workdir, step=30, **fields):
    config = make_run_config(**fields)
    restored = Restored(None, step, config_to_json(config), {})
    return provenance(epath.Path(workdir), config, restored)


def write_rows(workdir, *rows, about=ABOUT):
    lines = [json.dumps(row) + "\n" for row in rows]
    (workdir / "metrics.jsonl").write_text("".join(lines) + '{"step": 30, "fid@classifier": 0.')
    if about is not None:
        (workdir / "evaluation").mkdir()
        (workdir / "evaluation" / "during_training.json").write_text(json.dumps(about))


def test_a_run_without_scores_has_all_the_rest(tmp_path):
    found = found_in(tmp_path, batch_size=24, seed=5)
    assert found["step"] == 30 and found["scores"] == {}
    assert found["data"] == {"source": "nowhere", "split": "train"}
    assert found["training"]["batch_size"] == 24 and found["training"]["seed"] == 5
    config = make_run_config(batch_size=24, seed=5)
    assert found["training"]["config_sha256"] == json_digest(config_to_json(config))
    assert found["statistics"] == {"mode": "standing", "passes": 2, "batch_size": 8}
    assert found["versions"]["biggan-jax"] == biggan_jax.__version__
    assert found["versions"]["jax"] == jax.__version__ and len(found["date"]) == len("2026-01-31")
    json.dumps(found, allow_nan=False)


def test_scores_of_the_rows_of_that_step_come_with_how_they_were_measured(tmp_path):
    rows = (
        {"step": 20, "fid@classifier": 9.0},
        {"step": 30, "d_loss": 1.0, "fid@classifier": 7.0, "is@classifier": None},
    )
    write_rows(tmp_path, *rows)
    score = {"value": 7.0, "num_samples": 5_000, "truncation": 0.0, "seed": 3, "network": NETWORK}
    assert found_in(tmp_path)["scores"] == {"fid@classifier": score}
    assert found_in(tmp_path, step=20)["scores"]["fid@classifier"]["value"] == 9.0
    assert found_in(tmp_path, step=10)["scores"] == {}


def test_scores_of_a_report_of_that_step_take_their_place(tmp_path):
    write_rows(tmp_path, {"step": 30, "fid@classifier": 7.0, "is@classifier": 2.0}, about=None)
    (tmp_path / "evaluation.json").write_text(json.dumps(REPORT))
    scores = found_in(tmp_path)["scores"]
    assert scores["fid@classifier"]["value"] == 4.0 and scores["fid@classifier"]["num_samples"] == 2_000
    assert scores["kid@classifier"]["standard_error"] == 0.01
    assert scores["is@classifier"] == {"value": 2.0}
    assert found_in(tmp_path, step=20)["scores"] == {}  # the report is of another step


@pytest.mark.parametrize("content", ["{", "[]", '{"step": 30}', '{"step": 30, "scores": [1]}', "\xff"])
def test_a_damaged_report_is_passed_over_with_a_warning(tmp_path, content, caplog):
    (tmp_path / "evaluation.json").write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert found_in(tmp_path)["scores"] == {}
    assert "cannot read scores from" in caplog.text and "evaluation.json" in caplog.text


@pytest.mark.parametrize(
    ("source", "public"),
    [
        ("folder:/home/somebody/my pictures", "folder:my pictures"),
        ("folder:pictures/", "folder:pictures"),
        ("prepared:/data/imagenet128", "prepared:imagenet128"),
        ("tfds:imagenet2012", "tfds:imagenet2012"),
        ("tfds:wiki/art", "tfds:wiki/art"),
        ("folder:\udcff", "folder:?"),
    ],
)
def test_sources_are_named_without_their_path(tmp_path, source, public):
    found = found_in(tmp_path, **{"data.source": source})
    assert found["data"]["source"] == public
    json.dumps(found, ensure_ascii=False).encode()


def test_no_path_of_this_machine_is_in_it(tmp_path):
    write_rows(tmp_path, {"step": 30, "fid@classifier": 7.0})
    (tmp_path / "evaluation.json").write_text(json.dumps(REPORT))
    words = json.dumps(found_in(tmp_path, **{"data.source": f"folder:{tmp_path}/pictures"}))
    assert "somebody" not in words and str(tmp_path.parent) not in words and "/home" not in words
