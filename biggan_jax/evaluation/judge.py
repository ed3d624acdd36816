"""Judges a run: draws samples of every class from its newest checkpoint and scores them by a classifier."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import track

from biggan_jax.cli import UserError
from biggan_jax.config import default_config, validate
from biggan_jax.data import ArraySource, DataError, arrays, open_source
from biggan_jax.evaluation import classifier, recognition
from biggan_jax.evaluation.classifier import Classifier, Settings
from biggan_jax.sampling.latents import draw_latents
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.training.checkpoints import Checkpoints, Restored
from biggan_jax.training.state import abstract_state
from biggan_jax.training.workdir import flatten


class Judgement(NamedTuple):
    """What `judge` found."""

    report: dict[str, Any]  # what evaluation.json holds
    samples: np.ndarray  # u8[num_samples, H, W, 3]; sample i is of class i modulo the number of classes
    config: ConfigDict


def judge(
    workdir: Path,
    *,
    num_samples: int,
    truncation: float,
    seed: int,
    train_split: str | None,
    test_split: str,
    console: Console,
) -> Judgement:
    """Judges the newest checkpoint of the run in `workdir`.

    The averaged generator draws, with standing statistics, the same number of samples of each class. The
    classifier learns from the real images that the run learns from, and is kept in `workdir/evaluation/`.

    Args:
      workdir: of a run of biggan_jax.train, finished or not.
      num_samples: at least two for each class.
      truncation: threshold beyond which latents are drawn again; 0 for none.
      seed: of the latents.
      train_split: real images for the classifier to learn; None for the run's own.
      test_split: real images that the classifier and the samples are measured against.
      console: shows what goes on.

    Raises:
      UserError: no run or no checkpoint in the workdir, data that is missing or doesn't fit, too few samples,
        or the workdir cannot be written.
    """
    config = saved_config(workdir)
    if truncation and config.model.latent_distribution != "normal":
        raise UserError(
            f"--truncation={truncation}: this run's latents are {config.model.latent_distribution}, and only "
            "normal ones can be truncated; leave --truncation out"
        )
    training = _open(config, "train_split", train_split or config.data.split)
    test = _open(config, "test_split", test_split)
    classes = training.num_classes
    if num_samples < 2 * classes:
        raise UserError(
            f"--num_samples={num_samples}: diversity takes two samples of each of the {classes} classes; "
            f"give {2 * classes} or more"
        )
    restored = _restore(workdir, config)

    settings = Settings(random_flip=config.data.random_flip)
    network = classifier.obtain(
        arrays(training), arrays(test), classes, workdir / "evaluation", settings, console
    )
    console.print(
        f"drawing {num_samples:,} samples of step {restored.step:,}, after {config.sampling.standing_passes} "
        "passes for batch norm's statistics"
    )
    sampler = Sampler(config, restored.state.ema_params, restored.state.generator.u, truncation)
    labels = np.arange(num_samples, dtype=np.int32) % classes
    samples = _draw(sampler, config, labels, seed, console)
    report = {
        "step": restored.step,
        "weights": "average (EMA)",
        "statistics": {
            "mode": "standing",
            "passes": config.sampling.standing_passes,
            "batch_size": config.sampling.batch_size,
        },
        "truncation": truncation,
        "num_samples": num_samples,
        "seed": seed,
        "resolution": config.model.resolution,
        "data": {"source": training.name, "training": training.description, "test": test.description},
        **score(samples, labels, network, *arrays(test), training.class_names),
    }
    return Judgement(report, samples, config)


def score(
    samples: np.ndarray,
    labels: np.ndarray,
    network: Classifier,
    real_images: np.ndarray,
    real_labels: np.ndarray,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Scores samples u8[N, H, W, 3] of classes `labels: i32[N]` beside real images; for JSON: null for NaN.

    Each score's name ends in the network it was measured by.
    """
    classes = len(class_names)
    logits, features = network.judge(samples)
    real_logits, real_features = network.judge(real_images)
    counts = recognition.confusion(labels, logits)
    shares = recognition.recognised_by_class(counts)
    ceiling = recognition.recognised_by_class(recognition.confusion(real_labels, real_logits))
    diversity = recognition.diversity_by_class(
        recognition.spread(features, labels, classes),
        recognition.spread(real_features, real_labels, classes),
    )
    known = diversity[np.isfinite(diversity)]
    return {
        "classifier": {
            "hash": network.hash,
            "resolution": network.resolution,
            "test_accuracy": network.test_accuracy,
            "test_images": network.test_images,
        },
        "recognised@classifier": recognition.recognised(counts),
        "diversity@classifier": float(known.mean()) if known.size else None,
        "classes": [
            {
                "label": label,
                "name": class_names[label],
                "num_samples": int(counts[label].sum()),
                "recognised@classifier": _number(shares[label]),
                "diversity@classifier": _number(diversity[label]),
                "test_accuracy": _number(ceiling[label]),
            }
            for label in range(classes)
        ],
        "confusion": counts.tolist(),
    }


def saved_config(workdir: Path) -> ConfigDict:
    """The config of the run in `workdir`.

    Raises:
      UserError: there is none, or it is not one of this version's.
    """
    path = workdir / "config.json"
    try:
        saved = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"--workdir={workdir}: no run here (there is no config.json); give the --workdir of "
            "python -m biggan_jax.train"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({error}); start the training command again, which writes it"
        ) from error
    config = default_config()
    try:
        config.update_from_flattened_dict(flatten(saved))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is of another version of this package: {error}") from error
    validate(config)
    return config


def _open(config: ConfigDict, flag: str, split: str) -> ArraySource:
    model = config.model
    try:
        source = open_source(
            config.data.source, split, resolution=model.resolution, num_classes=model.num_classes
        )
        arrays(source)  # refuses what is too large for memory
    except DataError as error:
        raise UserError(f"--{flag}={split}: {error}") from error
    return source


def _restore(workdir: Path, config: ConfigDict) -> Restored:
    folder = workdir / "checkpoints"
    restored = None
    if folder.is_dir():
        checkpoints = Checkpoints(folder, config, read_only=True)
        restored = checkpoints.restore_latest(abstract_state(config))
        checkpoints.close()
    if restored is None:
        raise UserError(
            f"--workdir={workdir}: the run has no checkpoint yet; let it train to its first (config."
            "checkpoint_every), or stop it with Ctrl-C, which saves one"
        )
    return restored


def _draw(
    sampler: Sampler, config: ConfigDict, labels: np.ndarray, seed: int, console: Console
) -> np.ndarray:
    model = config.model
    z = draw_latents(
        jax.random.key(seed),
        jnp.arange(len(labels)),
        model.latent_dim,
        model.latent_distribution,
        sampler.truncation,
    )
    starts = range(0, len(labels), config.sampling.batch_size)
    parts = [slice(start, start + config.sampling.batch_size) for start in starts]
    hidden = not console.is_terminal
    shown = track(parts, "drawing", console=console, transient=True, disable=hidden)
    return np.concatenate([sampler.images(z[part], labels[part]) for part in shown])


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
