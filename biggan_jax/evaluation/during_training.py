"""Evaluation during training: FID and IS of the averaged generator for the rows of metrics."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict
from rich.console import Console

from biggan_jax.data import Source
from biggan_jax.evaluation import reference as references
from biggan_jax.evaluation.assessment import fault_of
from biggan_jax.evaluation.image_sets import GeneratedImages, RealImages
from biggan_jax.evaluation.networks.classifier import ClassifierSettings
from biggan_jax.evaluation.networks.extraction import extract_statistics, fid_and_is
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.reference import Reference
from biggan_jax.evaluation.scores.inception_score import SPLITS
from biggan_jax.evaluation.scores.moments import FeatureStatistics
from biggan_jax.evaluation.scores.registry import METRICS
from biggan_jax.evaluation.scores.statistics_file import read_statistics, write_statistics
from biggan_jax.runtime import processes
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import write_file
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.standing_statistics import prepare_generator

SEED = 0  # of the latents: the same at every step, and in biggan_jax.evaluate
OTHER_NETWORK = (
    "set config.evaluation.network to inception, or to module:function for your own, or "
    "config.evaluation.every to 0"
)


class TrainingEvaluation:
    """Computes FID and IS by `config.evaluation`, in all processes of a run together.

    Samples are untruncated and use standing statistics, with equally many of each class. The real images are
    those that the run learns from. `biggan_jax.evaluate` computes the same numbers from equally many samples
    and the same real images.

    Args:
      config: Config of the run.
      source: Images that the run learns from.
      workdir: Directory of the run, whose folder `evaluation` keeps the classifier and the statistics of the
        real images; None in all processes but the first.
      console: Console for progress.

    Raises:
      UserError: `config.evaluation` is impossible; the message names the field.
    """

    def __init__(self, config: ConfigDict, source: Source, workdir: epath.Path | None, console: Console):
        self._config, self._source, self._console = config, source, console
        self._folder = workdir / "evaluation" if workdir is not None else None
        evaluation = config.evaluation
        least = max(SPLITS, source.num_classes)
        if evaluation.num_samples < least:
            raise UserError(
                f"config.evaluation.num_samples = {evaluation.num_samples}: give at least {least}: ten for "
                "IS and one of each class"
            )
        self._real = Reference(source, None)
        if evaluation.network == "classifier":
            self._real = references.open_reference(
                config.data.source,
                config.model.resolution,
                config.model.num_classes,
                config.data.split,
                training=source,
            )
            references.refuse_without_held_out(self._real)
            if source.num_classes < 2:
                raise UserError(
                    "config.evaluation.network = 'classifier': the data has one class, from which a "
                    f"classifier learns nothing: {OTHER_NETWORK}"
                )
        # The classifier can be trained later, but another network that is missing should stop the run now.
        self._network = None if evaluation.network == "classifier" else self._open()
        self._statistics_of_real: FeatureStatistics | None = None
        self._fault: str | None = None

    def scores(self, params: Any, u: dict[str, Any]) -> dict[str, float]:
        """Returns `{"fid@classifier": …, "is@classifier": …}`, the same in all processes.

        It returns no scores by a network whose scores are not meaningful, so that none ranks a checkpoint.

        Args:
          params: Parameters of the averaged generator, whole in this process.
          u: Vectors of spectral norm.
        """
        if self._network is None:
            self._network = self._open()
        if self._statistics_of_real is None:
            self._statistics_of_real = self._open_statistics(self._network)
            self._fault = fault_of(self._network, self._statistics_of_real)
            if self._fault and self._folder is not None:
                logging.warning("%s", self._refusal())
        if self._fault:
            return {}
        network, reference, config = self._network, self._statistics_of_real, self._config
        sampler = Sampler(prepare_generator(config, params, u, [0.0]), batch_size=config.sampling.batch_size)
        samples = GeneratedImages(sampler, config.evaluation.num_samples, self._source.num_classes, SEED)
        fid, score = fid_and_is(network, samples, reference, "evaluating", self._console)
        scores = {METRICS["fid"].full_name(network.name): fid.value}
        return scores | ({METRICS["is"].full_name(network.name): score.mean} if score else {})

    def _refusal(self) -> str:
        rules, network = self._config.checkpoints, self._config.evaluation.network
        best = (
            f", and checkpoints.best keeps none by {rules.metric}"
            if rules.best and "@" in rules.metric
            else ""
        )
        return (
            f"scores by {network} are not meaningful: {self._fault}. The metrics of this run have none"
            f"{best}: {OTHER_NETWORK}"
        )

    def _open(self) -> FeatureNetwork:
        config = self._config
        network, _ = references.open_network(
            config.evaluation.network,
            self._real,
            config.model.resolution,
            self._folder,
            ClassifierSettings(random_flip=config.data.random_flip),
            self._console,
        )
        return network

    def _open_statistics(self, network: FeatureNetwork) -> FeatureStatistics:
        """Returns the statistics of the real images, and writes a file with the conditions of all scores."""
        config, resolution = self._config, self._config.model.resolution
        real = RealImages(self._source, config.evaluation.reference_images)
        about = {
            "network": network.identity.to_json(),
            "reference": {"source": self._source.name, "description": self._source.description},
            "reference_images": real.count,
            "num_samples": config.evaluation.num_samples,
            "resolution": resolution,
            "truncation": 0.0,
            "statistics": {
                "mode": "standing",
                "passes": config.sampling.standing_passes,
                "batch_size": config.sampling.batch_size,
            },
            "weights": "average (EMA)",
            "seed": SEED,
        }
        if self._folder is not None:
            write_file(self._folder / "during_training.json", json.dumps(about, indent=2).encode())
        return self._kept_statistics(network, real)

    def _kept_statistics(self, network: FeatureNetwork, real: RealImages) -> FeatureStatistics:
        """Returns the statistics that the workdir keeps, or computes them from all images."""
        signature = f"{network.name} {network.weights_hash}"
        about = [signature, self._source.content_hash, real.count, real.resolution]
        name = f"reference-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]}.npz"
        path = cast(Path, self._folder / name) if self._folder is not None else None
        kept = None
        if path is not None and path.exists():
            try:
                kept = read_statistics(path, network.features_dim, signature)
            except UserError as error:
                logging.warning("%s: recomputing the statistics of the real images", error)
        if _from_first(np.array([kept is not None]))[0]:
            width = network.features_dim
            mean = _from_first(kept.mean if kept else np.zeros(width))
            covariance = _from_first(kept.covariance if kept else np.zeros((width, width)))
            return FeatureStatistics(mean, covariance, real.count)
        result = extract_statistics(network, real, "real images", self._console)
        if path is not None:
            write_statistics(path, result, signature)
        return result


def _from_first(array: np.ndarray) -> np.ndarray:
    """Returns the array of the first process in all processes."""
    return processes.gather(array[None], jax.process_count())[0]
