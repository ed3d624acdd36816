"""The collapse watch: when a run counts as collapsed, and what is different after it was taken back.

A BigGAN that trains well can fail within a few hundred steps, for good (Brock et al. 2019, section 4): the
largest singular values of G's weights explode, and D's loss goes to 0 and jumps. At a row of metrics a run
has collapsed if

1. any number in it is not finite; or, after `warmup_steps`,
2. for `patience` rows on end D's loss is below `d_loss_floor` or above `d_loss_ceiling`, or the norm of
   D's or of G's gradient is below `gradient_floor`; or
3. the largest singular value of a weight of G is above `sigma_ratio` times the median of those seen at the
   `sigma_window` looks before, or times 1 (where orthogonal weights start) if that is more.

D's weights are looked at but not judged: theirs jump about in healthy runs. All of it is a function of what
was seen, in values that JSON holds, so that every host and every resumed run comes to the same verdict.
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

RESPONSES = ("stop", "rollback")  # to a collapse, by the config's `on_collapse`


class CollapseError(UserError):
    """The run has collapsed, and may not or cannot go back."""


@dataclasses.dataclass(frozen=True)
class Collapse:
    """A verdict: the step whose row gave it, and what was seen there."""

    step: int
    seen: str

    def __str__(self) -> str:
        return f"collapsed at step {self.step}: {self.seen}"


@dataclasses.dataclass(frozen=True)
class Watch:
    """What the rule remembers from one row to the next; `to_json` of it belongs in every checkpoint."""

    rollbacks: int = 0  # times that the run has gone back so far
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)  # on end, by the sign they show
    sigmas: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)  # oldest first, by weight

    def to_json(self) -> dict[str, Any]:
        return {
            "rollbacks": self.rollbacks,
            "rows": dict(self.rows),
            "sigmas": {path: list(values) for path, values in self.sigmas.items()},
        }

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> "Watch":
        """The watch that `to_json` gave; a fresh one for `{}`, what a checkpoint without one holds."""
        return Watch(**saved)

    def after_rollback(self, rollbacks: int) -> "Watch":
        """That of the checkpoint gone back to, in a run that has now gone back so many times.

        The rows on end start from 0, or the run would be given less than its patience.
        """
        return dataclasses.replace(self, rollbacks=rollbacks, rows={})


def see(
    rules: ConfigDict,
    watch: Watch,
    step: int,
    row: Mapping[str, float | None],
    singular_values: Mapping[str, np.ndarray] | None = None,
) -> tuple[Watch, Collapse | None]:
    """Takes in one row of metrics, and the singular values where this row has a look at them.

    Args:
      rules: `config.collapse`.
      watch: what the row before left.
      step: the row's.
      row: the means of what the step returns; None stands for what is not known, such as the first rate.
      singular_values: descending, by path; only those in "generator/…" are judged.

    Returns:
      The watch for the next row, and the verdict: None if the run is in order.
    """
    top = {path: float(three[0]) for path, three in (singular_values or {}).items()}
    broken = _not_finite({**row, **{f"σ of {path}": sigma for path, sigma in top.items()}})
    if broken:
        return watch, Collapse(step, broken)
    top = {path: sigma for path, sigma in top.items() if path.startswith("generator/")}
    grown, shown = None, {}
    if step > rules.warmup_steps:
        grown = _outgrown(rules, watch.sigmas, top)
        shown = dict(_signs(rules, row))
    rows = {sign: watch.rows.get(sign, 0) + 1 for sign in shown}
    lasting = [
        f"{shown[sign]}, for {_counted(n, 'row')} on end" for sign, n in rows.items() if n >= rules.patience
    ]
    sigmas = dict(watch.sigmas)
    for path, sigma in top.items():
        sigmas[path] = [*sigmas.get(path, ()), sigma][-rules.sigma_window :]
    seen = [*([grown] if grown else []), *lasting]
    verdict = Collapse(step, "; ".join(seen)) if seen else None
    return Watch(watch.rollbacks, rows, sigmas), verdict


def not_finite(step: int, row: Mapping[str, float | None]) -> Collapse | None:
    """The first rule alone, of any step's metrics: a state that fails it is not worth a checkpoint."""
    broken = _not_finite(row)
    return Collapse(step, broken) if broken else None


def rollback_step(rules: ConfigDict, rollbacks: int, saved_steps: Sequence[int]) -> int | None:
    """The checkpoint to go back to: the `rollback_checkpoints`-th newest, or the oldest if there are fewer.

    Args:
      rules: `config.collapse`.
      rollbacks: how many times the run has gone back before.
      saved_steps: those of the checkpoints there are.

    Returns:
      None if the run has gone back `max_rollbacks` times, or there is nothing to go back to.
    """
    if rollbacks >= rules.max_rollbacks or not saved_steps:
        return None
    return sorted(saved_steps)[-min(rules.rollback_checkpoints, len(saved_steps))]


def seed_after(seed: int, rollbacks: int) -> int:
    """The seed of data order and latents after so many rollbacks, below 2**32; `seed` itself after none."""
    return int(np.random.SeedSequence([seed, rollbacks]).generate_state(1)[0]) if rollbacks else seed


def rng_after(seed: int, rollbacks: int) -> np.ndarray:
    """What takes the place of `TrainState.rng` when the run goes back: u32[2], of `seed_after` alone."""
    return np.asarray(jax.random.key_data(jax.random.key(seed_after(seed, rollbacks))))


def rates_after(config: ConfigDict, rollbacks: int) -> ConfigDict:
    """The config with both rates multiplied by their factors once for each rollback."""
    changed, rules = config.copy_and_resolve_references(), config.collapse
    changed.optimizer.g_learning_rate *= rules.g_rate_factor**rollbacks
    changed.optimizer.d_learning_rate *= rules.d_rate_factor**rollbacks
    return changed


def collapse_error(
    collapse: Collapse, rollbacks: int, saved_steps: Sequence[int], directory: Any
) -> CollapseError:
    """For the person at the keyboard, when the run stops: what was seen, what is left, what can be done."""
    again = f", after {_counted(rollbacks, 'rollback')}" if rollbacks else ""
    if saved_steps:
        listed = ", ".join(map(str, sorted(saved_steps)))
        left = (
            f"Checkpoints left in {directory}: step {listed}. Sample from one as it is; or delete those made "
            "too late, and go on with lower rates, config.remedies.r1, or config.on_collapse='rollback' and "
            "a higher config.collapse.max_rollbacks"
        )
    else:
        left = (
            f"There is no checkpoint yet in {directory}: begin again with lower rates or config.remedies.r1, "
            "and a smaller config.checkpoint_every"
        )
    return CollapseError(
        f"the run has collapsed at step {collapse.step}{again}: {collapse.seen}. {left}. If this is no "
        "collapse, change the threshold in config.collapse"
    )


def _not_finite(row: Mapping[str, float | None]) -> str:
    broken = [
        f"{name} is {value}" for name, value in row.items() if value is not None and not math.isfinite(value)
    ]
    return ", ".join(broken[:4]) + (f" and {len(broken) - 4} more" if len(broken) > 4 else "")


def _signs(rules: ConfigDict, row: Mapping[str, float | None]) -> Iterator[tuple[str, str]]:
    """The signs of collapse that a row shows: a name to count it by, and what was seen."""
    d_loss = row["d_loss"]
    if d_loss < rules.d_loss_floor:
        yield "d_loss_low", f"D's loss is {d_loss:.3g}, below {rules.d_loss_floor:g}"
    if d_loss > rules.d_loss_ceiling:
        yield "d_loss_high", f"D's loss is {d_loss:.3g}, above {rules.d_loss_ceiling:g}"
    for network in ("d", "g"):
        norm = row[f"{network}_gradient_norm"]
        if norm < rules.gradient_floor:
            seen = f"{network.upper()}'s gradient has norm {norm:.3g}, below {rules.gradient_floor:g}"
            yield f"{network}_gradient_low", seen


def _outgrown(
    rules: ConfigDict, before: Mapping[str, Sequence[float]], top: Mapping[str, float]
) -> str | None:
    """The weight that has grown most, if beyond the rule, with how many others have too."""
    usual = {path: max(1.0, statistics.median(before[path])) for path in top if before.get(path)}
    ratios = {path: top[path] / usual[path] for path in usual}
    over = [path for path, ratio in ratios.items() if ratio > rules.sigma_ratio]
    if not over:
        return None
    worst = max(over, key=ratios.get)
    others = f" (and so for {_counted(len(over) - 1, 'other weight')})" if len(over) > 1 else ""
    return (
        f"the largest singular value of {worst} is {top[worst]:.4g}, {ratios[worst]:.3g} times its usual "
        f"{usual[worst]:.4g}{others}"
    )


def _counted(number: int, thing: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
