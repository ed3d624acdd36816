"""The provenance of a checkpoint: data, step, settings, scores, versions.

It is published with an export, so it holds no paths. Scores come from the run itself (metrics.jsonl,
evaluation/during_training.json) and from `biggan_jax.evaluate` (evaluation.json), if they evaluated that
step. Each score names its feature network.
"""

import datetime
import logging
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from biggan_jax.data.catalogue import without_directories
from biggan_jax.data.fingerprint import FINGERPRINT
from biggan_jax.runtime.json_digest import json_digest
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.runtime.version import git_commit, versions
from biggan_jax.training.monitoring.metrics import FILE_NAME
from biggan_jax.training.monitoring.rows import read_rows
from biggan_jax.training.run.checkpoints import Restored
from biggan_jax.training.run.saved_run import recorded_images

PACKAGES = ("jax", "jaxlib", "flax", "numpy")
ABOUT_SCORES = ("num_samples", "truncation", "statistics", "weights", "seed", "resolution", "network")
OF_SCORE = ("value", "std", "standard_error")


def provenance(workdir: epath.Path, config: ConfigDict, restored: Restored) -> dict[str, Any]:
    """Returns the provenance as JSON values.

    Args:
      workdir: Directory of the run.
      config: Config of the run.
      restored: The checkpoint.
    """
    return {
        "format": "biggan_jax",
        "step": restored.step,
        "weights": "average (EMA)",
        "statistics": {
            "mode": "standing",
            "passes": config.sampling.standing_passes,
            "batch_size": config.sampling.batch_size,
        },
        "data": {"source": _source_name(config), "split": config.data.split} | _images(restored),
        "training": {
            "batch_size": config.batch_size,
            "d_steps": config.d_steps,
            "total_steps": config.total_steps,
            "seed": config.seed,
            "ema_decay": config.ema.decay,
            "config_sha256": json_digest(restored.config),
        },
        "scores": _scores(workdir, restored.step),
        "versions": versions(PACKAGES),
        "commit": git_commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _images(restored: Restored) -> dict[str, Any]:
    """Returns number and fingerprint of the images; nothing for a checkpoint of an older version."""
    images = recorded_images(restored)
    return {"images": images.images, FINGERPRINT: images.to_json()} if images else {}


def _source_name(config: ConfigDict) -> str:
    """Returns `folder:pictures` for `folder:/home/somebody/pictures`, as text that can be encoded."""
    return without_directories(config.data.source).encode(errors="replace").decode()


def _scores(workdir: epath.Path, step: int) -> dict[str, Any]:
    """Returns value and circumstances of each score, by its name, such as `fid@classifier`."""
    scores = {}
    for name, reader in {FILE_NAME: _of_rows, "evaluation.json": _of_report}.items():
        try:
            scores |= reader(workdir, step)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logging.warning("cannot read scores from %s: %s", workdir / name, error)
    return scores


def _of_rows(workdir: epath.Path, step: int) -> dict[str, Any]:
    rows = read_rows(workdir / FILE_NAME)
    values = {name: row[name] for row in rows if row["step"] == step for name in row if "@" in name}
    about = {}
    path = workdir / "evaluation" / "during_training.json"
    if values and path.exists():
        about = parse_json(path.read_bytes())
    return {name: _score({"value": value}, about) for name, value in values.items() if value is not None}


def _of_report(workdir: epath.Path, step: int) -> dict[str, Any]:
    report = parse_json((workdir / "evaluation.json").read_bytes())
    if report.get("step") != step:
        return {}
    scores = report["scores"].items()
    return {name: _score(score, report) for name, score in scores if score["value"] is not None}


def _score(score: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: score[name] for name in OF_SCORE if name in score}
    return kept | {name: about[name] for name in ABOUT_SCORES if name in about}
