"""The collapse rule: when a run counts as collapsed, and what changes after a rollback.

A BigGAN that trains well can fail within a few hundred steps, for good (Brock et al. 2019, section 4): the
largest singular values of G's weights explode, and D's loss goes to 0 and jumps. At a row of metrics a run
has collapsed if

1. any number in the row, or in the state where a checkpoint is due, is not finite; or, after `warmup_steps`,
2. for `patience` consecutive rows D's loss is below `d_loss_floor` or above `d_loss_ceiling`, or the norm of
   D's or of G's gradient is below `gradient_floor`. The bounds on D's loss hold for losses that are
   `non_negative` (`step/losses.py`); or
3. the largest singular value of a weight of G is above `sigma_ratio` times its median over the `sigma_window`
   measurements before. A median below 1, where orthogonal weights start, counts as 1.

The rule ignores the singular values of D, which jump in healthy runs too. The verdict is a function of the
rows, and its memory is of values that JSON holds, so every host and every resumed run comes to the same one.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.runtime.errors import UserError
from biggan_jax.training.step.losses import Loss


class CollapseError(UserError):
    """The run has collapsed, and no rollback is allowed or possible."""


@dataclasses.dataclass(frozen=True)
class Collapse:
    """The verdict that a run has collapsed.

    Attributes:
      step: Step of the row that led to the verdict.
      reason: Numbers that led to it, and their thresholds, in words.
    """

    step: int
    reason: str

    def __str__(self) -> str:
        """Returns step and reason as one clause."""
        return f"collapsed at step {self.step}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Watch:
    """The rule's memory between rows; every checkpoint holds it as `to_json` gives it.

    Attributes:
      rollbacks: Number of rollbacks so far.
      rows: Number of consecutive rows that show a sign of collapse, by the sign's name.
      sigmas: Largest singular values of each weight, oldest first, by path.
    """

    rollbacks: int = 0
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sigmas: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the memory as values that JSON holds."""
        return {
            "rollbacks": self.rollbacks,
            "rows": dict(self.rows),
            "sigmas": {path: list(values) for path, values in self.sigmas.items()},
        }

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> "Watch":
        """Returns the memory that `to_json` saved, or an empty one for `{}`."""
        return Watch(**saved)

    def after_rollback(self, rollbacks: int) -> "Watch":
        """Returns the memory of a checkpoint that the run has gone back to.

        Consecutive rows are counted from 0 again, or the run would be given less than its patience.

        Args:
          rollbacks: Number of rollbacks, with this one.
        """
        return dataclasses.replace(self, rollbacks=rollbacks, rows={})


def check_row(
    rules: ConfigDict,
    loss: Loss,
    watch: Watch,
    step: int,
    row: Mapping[str, float | None],
    singular_values: Mapping[str, np.ndarray] | None = None,
) -> tuple[Watch, Collapse | None]:
    """Applies the rule to one row of metrics.

    Args:
      rules: `config.collapse`.
      loss: Loss of the run, which decides whether the bounds on D's loss hold.
      watch: Memory after the row before.
      step: Step of the row.
      row: Means of the step's metrics. None stands for an unknown number, such as the first rate.
      singular_values: Singular values in descending order, by path, if this row has any. Only weights of G,
        "generator/…", are compared with their past.

    Returns:
      The memory for the next row, and the verdict: None if the run is healthy.
    """
    top = {path: float(three[0]) for path, three in (singular_values or {}).items()}
    broken = _not_finite({**row, **{f"σ of {path}": sigma for path, sigma in top.items()}})
    if broken:
        return watch, Collapse(step, broken)
    top = {path: sigma for path, sigma in top.items() if path.startswith("generator/")}
    explosion, signs = None, {}
    if step > rules.warmup_steps:
        explosion = _explosion(rules, watch.sigmas, top)
        signs = dict(_signs(rules, loss, row))
    rows = {sign: watch.rows.get(sign, 0) + 1 for sign in signs}
    lasting = [
        f"{signs[sign]}, for {n} {'row' if n == 1 else 'consecutive rows'}"
        for sign, n in rows.items()
        if n >= rules.patience
    ]
    sigmas = dict(watch.sigmas)
    for path, sigma in top.items():
        sigmas[path] = [*sigmas.get(path, ()), sigma][-rules.sigma_window :]
    reasons = [*([explosion] if explosion else []), *lasting]
    verdict = Collapse(step, "; ".join(reasons)) if reasons else None
    return Watch(watch.rollbacks, rows, sigmas), verdict


def not_finite(step: int, row: Mapping[str, float | None]) -> Collapse | None:
    """Applies the first part of the rule alone, to any step: a state that fails it deserves no checkpoint."""
    broken = _not_finite(row)
    return Collapse(step, broken) if broken else None


def broken_state(step: int, parts: str) -> Collapse | None:
    """Applies the first part of the rule to the state itself, after the step that the metrics belong to.

    Args:
      step: Step of the state.
      parts: Names of its parts that are not finite; empty if all are.
    """
    return Collapse(step, f"{parts} hold numbers that are not finite") if parts else None


def rollback_step(rules: ConfigDict, rollbacks: int, saved_steps: Sequence[int]) -> int | None:
    """Chooses the checkpoint to go back to: the `rollback_checkpoints`-th newest, or the oldest.

    Args:
      rules: `config.collapse`.
      rollbacks: Number of rollbacks before this one.
      saved_steps: Steps of the saved checkpoints.

    Returns:
      The checkpoint's step; None after `max_rollbacks` rollbacks, or without checkpoints.
    """
    if rollbacks >= rules.max_rollbacks or not saved_steps:
        return None
    return sorted(saved_steps)[-min(rules.rollback_checkpoints, len(saved_steps))]


def seed_after(seed: int, rollbacks: int) -> int:
    """Returns the seed of data order and latents after some rollbacks, below 2**32; `seed` after none."""
    return int(np.random.SeedSequence([seed, rollbacks]).generate_state(1)[0]) if rollbacks else seed


def rng_after(seed: int, rollbacks: int) -> np.ndarray:
    """Returns the `TrainState.rng` for a run after some rollbacks: u32[2], a function of `seed_after`."""
    return np.asarray(jax.random.key_data(jax.random.key(seed_after(seed, rollbacks))))


def rates_after(config: ConfigDict, rollbacks: int) -> ConfigDict:
    """Returns the config with both learning rates multiplied by their factors once for each rollback."""
    changed, rules = config.copy_and_resolve_references(), config.collapse
    changed.optimizer.g_learning_rate *= rules.g_rate_factor**rollbacks
    changed.optimizer.d_learning_rate *= rules.d_rate_factor**rollbacks
    return changed


def collapse_error(
    collapse: Collapse, rollbacks: int, saved_steps: Sequence[int], directory: Any
) -> CollapseError:
    """Returns the error for a run that stops: the reason, the checkpoints left, the remedies.

    Args:
      collapse: The verdict.
      rollbacks: Number of rollbacks before it.
      saved_steps: Steps of the saved checkpoints.
      directory: Directory of the checkpoints.
    """
    again = f", after {_counted(rollbacks, 'rollback')}" if rollbacks else ""
    if saved_steps:
        listed = ", ".join(map(str, sorted(saved_steps)))
        remedy = (
            f"Checkpoints left in {directory}: step {listed}. Sample from one of them; or delete those that "
            "were saved too late and resume with lower learning rates, with config.remedies.r1, or with "
            "config.on_collapse='rollback' and a higher config.collapse.max_rollbacks"
        )
    else:
        remedy = (
            f"{directory} holds no checkpoint yet: start again with lower learning rates or "
            "config.remedies.r1, and a smaller config.checkpoint_every"
        )
    return CollapseError(
        f"the run has collapsed at step {collapse.step}{again}: {collapse.reason}. {remedy}. If this is no "
        "collapse, change the threshold in config.collapse"
    )


def _not_finite(row: Mapping[str, float | None]) -> str:
    broken = [
        f"{name} is {value}" for name, value in row.items() if value is not None and not math.isfinite(value)
    ]
    return ", ".join(broken[:4]) + (f" and {len(broken) - 4} more" if len(broken) > 4 else "")


def _signs(rules: ConfigDict, loss: Loss, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields name and description of each sign of collapse that a row shows."""
    d_loss = row["d_loss"]
    if loss.non_negative and d_loss < rules.d_loss_floor:
        yield "d_loss_low", f"D's loss is {d_loss:.3g}, below {rules.d_loss_floor:g}"
    if loss.non_negative and d_loss > rules.d_loss_ceiling:
        yield "d_loss_high", f"D's loss is {d_loss:.3g}, above {rules.d_loss_ceiling:g}"
    for network in ("d", "g"):
        norm = row[f"{network}_gradient_norm"]
        if norm < rules.gradient_floor:
            description = f"{network.upper()}'s gradient has norm {norm:.3g}, below {rules.gradient_floor:g}"
            yield f"{network}_gradient_low", description


def _explosion(
    rules: ConfigDict, before: Mapping[str, Sequence[float]], top: Mapping[str, float]
) -> str | None:
    """Describes the weight that has grown most, if any is beyond the rule; counts the others that are."""
    usual = {path: max(1.0, statistics.median(before[path])) for path in top if before.get(path)}
    ratios = {path: top[path] / usual[path] for path in usual}
    over = [path for path, ratio in ratios.items() if ratio > rules.sigma_ratio]
    if not over:
        return None
    worst = max(over, key=ratios.__getitem__)
    others = f" ({_counted(len(over) - 1, 'other weight')} exploded too)" if len(over) > 1 else ""
    return (
        f"the largest singular value of {worst} is {top[worst]:.4g}, {ratios[worst]:.3g} times its median "
        f"{usual[worst]:.4g}{others}"
    )


def _counted(number: int, thing: str) -> str:
    """Returns `1 row`, `2 rows`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
