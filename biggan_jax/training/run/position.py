"""Positions of a run: where it begins or resumes, where it is between two calls, and where it ends."""

import collections
import dataclasses
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from biggan_jax.training.monitoring.collapse import Collapse, Watch
from biggan_jax.training.run.step_metrics import Row, StepMetrics
from biggan_jax.training.step.state import TrainState


class Start(NamedTuple):
    """The position from which a run begins or resumes.

    Attributes:
      step: Number of steps done.
      state: State on the devices.
      unlogged: Metrics of the steps since the last row, a dictionary for each step.
      watch: Memory of the collapse rule.
      rollbacks: Number of rollbacks so far.
    """

    step: int
    state: TrainState
    unlogged: list[Row]
    watch: Watch
    rollbacks: int

    def awaits_evaluation(self, config: ConfigDict) -> bool:
        """Returns whether the run stopped between the checkpoint of this step and its evaluation's end."""
        every, at_end = config.evaluation.every, self.step == config.total_steps
        due = every > 0 and self.step > 0 and (self.step % every == 0 or at_end)
        return due and bool(self.unlogged)


class End(NamedTuple):
    """The position at which a run ended, with the reason; all checkpoints are written.

    Attributes:
      step: Number of steps done.
      signal: Signal that stopped the run, or 0.
      collapse: Verdict that stopped the run, or None.
      awaits_evaluation: Whether an evaluation of this step is left to the process that resumes the run.
    """

    step: int
    signal: int = 0
    collapse: Collapse | None = None
    awaits_evaluation: bool = False


@dataclasses.dataclass
class Position:
    """The run between two calls of the compiled program.

    Attributes:
      step: Number of steps dispatched.
      state: State on the devices.
      metrics: Metrics of the steps since the last row.
      watch: Memory of the collapse rule.
      rollbacks: Number of rollbacks so far.
      in_flight: Outputs of the calls that may not be done.
      signal: Signal that stops the run, or 0.
      scores: Last row of metrics, which ranks the next checkpoint.
      collapse: Verdict that stops the run, or None.
      awaits_evaluation: Whether the signal leaves the evaluation of this step to the process that resumes.
    """

    step: int
    state: TrainState
    metrics: StepMetrics
    watch: Watch
    rollbacks: int
    in_flight: collections.deque[Any] = dataclasses.field(default_factory=collections.deque)
    signal: int = 0
    scores: Row = dataclasses.field(default_factory=dict)
    collapse: Collapse | None = None
    awaits_evaluation: bool = False

    def carried(self, unlogged: list[Row]) -> dict[str, Any]:
        """Returns the JSON values that a checkpoint holds beside the state.

        Args:
          unlogged: Metrics of the steps that are in no row yet.
        """
        return {"unlogged": unlogged, "watch": self.watch.to_json()}
