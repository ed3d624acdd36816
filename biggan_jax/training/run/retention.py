"""Which checkpoints are kept, and by which scores they are ranked."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from biggan_jax.runtime.json_digest import json_digest
from biggan_jax.training.run.digests import read_digests


class VerifiedManager(ocp.CheckpointManager):
    """Orbax's manager, which ranks no checkpoint by scores that have changed since they were saved."""

    def metrics(self, step: int) -> Any:
        """Returns the scores of a checkpoint; None if it has none, or damaged ones, which it warns of.

        Args:
          step: Step of the checkpoint.
        """
        path = self.directory / f"{step:08d}"
        try:
            scores = super().metrics(step)
            digests = None if scores is None else read_digests(path)
            if digests and json_digest(scores) != digests.scores:
                raise ValueError("they have changed since they were saved")
        except (ValueError, RecursionError) as error:
            logging.warning("the scores of the checkpoint %s do not rank it: %s", path, error)
            return None
        return scores


def retention_options(rules: ConfigDict) -> dict[str, Any]:
    """Returns orbax's options to keep the newest, those of every `keep_every` steps, and the best.

    Args:
      rules: Section `checkpoints` of the config.
    """
    policies: list[Any] = [preservation_policy.LatestN(rules.keep)]
    if rules.keep_every:
        policies.append(preservation_policy.EveryNSteps(rules.keep_every))
    if not rules.best:
        return {"preservation_policy": preservation_policy.AnyPreservationPolicy(policies)}

    rank = functools.partial(_rank, rules)
    best = preservation_policy.BestN(get_metric_fn=rank, n=rules.best, keep_checkpoints_without_metrics=False)
    policy = preservation_policy.AnyPreservationPolicy([*policies, best])
    return {"preservation_policy": policy, "best_fn": rank, "best_mode": "max"}


def surplus_steps(rules: ConfigDict, scores: Mapping[int, Mapping[str, float | None] | None]) -> list[int]:
    """Returns the steps that `retention_options` would let go at the next save, in ascending order.

    Args:
      rules: Section `checkpoints` of the config.
      scores: Scores of all saved checkpoints, by step.
    """
    steps = sorted(scores)
    known = ((_rank(rules, of_step), step) for step, of_step in scores.items() if of_step is not None)
    best = sorted(known, reverse=True)[: rules.best]
    kept = {step for step in steps if rules.keep_every and step % rules.keep_every == 0}
    kept |= {*steps[-rules.keep :], *(step for _, step in best)}
    return [step for step in steps if step not in kept]


def _rank(rules: ConfigDict, scores: Mapping[str, float | None]) -> float:
    value = scores.get(rules.metric)
    if value is None or math.isnan(value):
        return -math.inf
    return value if rules.higher_is_better else -value
