"""The workdir of a run. Only the first process of a run has a record, and it owns the workdir.

workdir/config.json             the config in use
        classes.json            the classes' names, in the order of their labels
        metrics.jsonl           a row every `log_every` steps and at the last (see metrics.py)
        tensorboard/            the same
        curves.png              the same as curves
        samples/real.png        real images, a class a column, to compare with
        samples/00001000.png    samples every `sample_every` steps and at the last, of the same latents
        checkpoints/00001000/   the state every `checkpoint_every` steps, at the last, on interruption
        rollbacks.json          the run's rollbacks: step of the collapse, reason, step gone back to
        metrics-1.jsonl         the rows up to the first rollback, and so on
"""

import functools
import json
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from biggan_jax.config import config_to_json
from biggan_jax.data import Source
from biggan_jax.data.fingerprint import fingerprint
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import write_file
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.runtime.ownership import Check
from biggan_jax.training.monitoring.collapse import Collapse, Watch
from biggan_jax.training.monitoring.curves import draw_curves
from biggan_jax.training.monitoring.metrics import FILE_NAME, Metrics
from biggan_jax.training.monitoring.pictures import real_sheet, samples_sheet
from biggan_jax.training.monitoring.rows import read_rows
from biggan_jax.training.run.checkpoints import Checkpoints, Restored
from biggan_jax.training.run.saved_run import CLASSES, IMAGES, refuse_other_images
from biggan_jax.training.step.state import TrainState

LOCK = ".train.lock"


class Record:
    """The workdir of one run, and all that is written there.

    Args:
      workdir: Directory of the run.
      config: The whole config.
      source: Images of the run.
      still_owner: Function that raises if another process has taken the workdir over.

    Attributes:
      workdir: Directory of the run.
      checkpoints: Checkpoints of the run.
      evaluated: Row of the step of resumption, if it holds the evaluation that the checkpoint lacks; or None.

    Raises:
      UserError: The workdir cannot be written, here or in any method.
    """

    def __init__(self, workdir: epath.Path, config: ConfigDict, source: Source, still_owner: Check):
        self.workdir, self._config, self._source = workdir, config, source
        self._still_owner = still_owner
        self.checkpoints = Checkpoints(workdir / "checkpoints", config)
        self._rollbacks = self._read_rollbacks()
        self._open_metrics: Metrics | None = None
        self.evaluated: dict[str, float | None] | None = None

    @property
    def rollbacks(self) -> int:
        """Number of rollbacks so far."""
        return len(self._rollbacks)

    def restore(self, state: Any) -> Restored | None:
        """Reads the newest readable checkpoint, without those of a collapse that was rolled back.

        Args:
          state: State of the present config, for the expected tree, shapes and types.
        """
        restored = self.checkpoints.restore_latest(state)
        if restored and self._rollbacks:
            back_to = self._rollbacks[-1]["to"]
            # The run was killed during its rollback, before it had deleted the checkpoints of the collapse.
            if restored.step > back_to and Watch.from_json(restored.loop["watch"]).rollbacks < self.rollbacks:
                self.checkpoints.delete_after(back_to)
                return self.checkpoints.restore_latest(state)
        return restored

    def refuse_other_images(self, restored: Restored) -> list[str]:
        """Refuses other images than a checkpoint has learnt from; returns lines for the user."""
        data = self._config.data
        return refuse_other_images(
            self.workdir, restored, self._source, data.split, allowed=data.allow_changes
        )

    def begin(self, step: int, awaits_evaluation: bool = False) -> None:
        """Writes config, names of classes and real images, and opens the metrics.

        Args:
          step: Step at which the run begins or resumes.
          awaits_evaluation: Whether the row of this step is still to be written. If it is there already, with
            its scores, `evaluated` keeps it.
        """
        self._still_owner()
        write_file(self.workdir / "config.json", json.dumps(config_to_json(self._config), indent=2).encode())
        write_file(
            self.workdir / CLASSES,
            json.dumps(self._source.class_names, indent=2, ensure_ascii=False).encode(),
        )
        real = self.workdir / "samples" / "real.png"
        if not real.exists():
            write_file(real, real_sheet(self._config, self._source))
        if awaits_evaluation:
            rows = read_rows(self.workdir / FILE_NAME) if (self.workdir / FILE_NAME).exists() else []
            self.evaluated = next((row for row in rows if row["step"] == step and _has_scores(row)), None)
            step -= 1
        self._open_metrics = Metrics(self.workdir, step)

    def row(self, step: int, row: dict[str, float | None]) -> None:
        """Writes a row of metrics.

        Args:
          step: Step of the row.
          row: Numbers by name.

        Raises:
          UserError: The row lacks `config.checkpoints.metric`.
        """
        self._still_owner()
        rules = self._config.checkpoints
        of_evaluation = "@" in rules.metric  # few rows have such a score
        expected = not of_evaluation or any("@" in name for name in row)
        if rules.best and expected and rules.metric not in row:
            raise UserError(
                f"config.checkpoints.metric = {rules.metric!r}: the rows of metrics lack it; choose one of "
                f"{', '.join(sorted(row))}"
            )
        self._metrics.write(step, row)
        self.evaluated = None

    def draw(self, step: int, state: TrainState) -> None:
        """Writes the sheet of samples of this step, and the curves so far."""
        self._still_owner()
        write_file(
            self.workdir / "samples" / f"{step:08d}.png", samples_sheet(self._config, state, self._source)
        )
        self._metrics.flush()
        write_file(
            self.workdir / "curves.png", draw_curves(read_rows(self.workdir / FILE_NAME), self._config.loss)
        )

    def save(
        self, step: int, state: TrainState, loop: dict[str, Any], scores: dict[str, float | None]
    ) -> None:
        """Saves a checkpoint in the background, after the rows before it.

        Args:
          step: Step of the state.
          state: State of the run.
          loop: JSON values to save beside the state and the fingerprint of the images.
          scores: Numbers that may rank the checkpoint.
        """
        self._still_owner()
        self._metrics.flush()
        self.checkpoints.save(step, state, loop | {IMAGES: self._fingerprint}, scores)

    def rank(self, step: int, scores: dict[str, float | None]) -> None:
        """Ranks the checkpoint of a step by numbers that were measured after it was saved."""
        if self._config.checkpoints.best and "@" in self._config.checkpoints.metric:
            self._still_owner()
            self._metrics.flush()
            self.checkpoints.rank(step, scores)

    def note_rollback(self, collapse: Collapse, to: int) -> None:
        """Records a rollback permanently, and sets the rows so far aside.

        Args:
          collapse: Verdict that leads to the rollback.
          to: Step of the checkpoint to go back to.
        """
        self._still_owner()
        self._rollbacks.append({"step": collapse.step, "seen": collapse.reason, "to": to})
        rows = self.workdir / FILE_NAME
        write_file(self.workdir / f"metrics-{self.rollbacks}.jsonl", rows.read_bytes())
        write_file(self.workdir / "rollbacks.json", json.dumps(self._rollbacks, indent=2).encode())

    def end(self) -> None:
        """Closes the metrics; checkpoints stay open."""
        if self._open_metrics:
            self._open_metrics.close()
            self._open_metrics = None

    @functools.cached_property
    def _fingerprint(self) -> dict[str, Any]:
        return fingerprint(self._source, self._config.data.split).to_json()

    @property
    def _metrics(self) -> Metrics:
        if self._open_metrics is None:
            raise ValueError("call `begin` first")
        return self._open_metrics

    def _read_rollbacks(self) -> list[dict[str, Any]]:
        path = self.workdir / "rollbacks.json"
        if not path.exists():
            return []
        try:
            rollbacks = parse_json(path.read_bytes())
            if not all(isinstance(item["to"], int) and isinstance(item["step"], int) for item in rollbacks):
                raise ValueError("steps are whole numbers")
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}): restore it, or delete it to have the rollbacks counted from 0"
            ) from error
        return rollbacks


def _has_scores(row: dict[str, Any]) -> bool:
    """Returns whether a row holds an evaluation in full: a score that was not finite has to be seen again."""
    scores = [value for name, value in row.items() if "@" in name]
    return bool(scores) and None not in scores
