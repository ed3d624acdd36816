"""What a run keeps in its workdir. Of several processes, the first alone has a record.

workdir/config.json             the config in use
        classes.json            the classes' names, in the order of their labels
        metrics.jsonl           a row every `log_every` steps and at the last (see metrics.py)
        tensorboard/            the same
        curves.png              the same, drawn
        samples/real.png        real images, a class a column, to compare with
        samples/00001000.png    samples every `sample_every` steps and at the last, of the same latents
        checkpoints/00001000/   the state every `checkpoint_every` steps, at the last, on interruption
        rollbacks.json          where the run collapsed, and where it went back to, if it did
        metrics-1.jsonl         the rows up to the first rollback, and so on
"""

import json
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from biggan_jax.config import config_to_json
from biggan_jax.data import Source
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import write_file
from biggan_jax.training.monitoring.collapse import Collapse, Watch
from biggan_jax.training.monitoring.curves import draw_curves, read_rows
from biggan_jax.training.monitoring.metrics import FILE_NAME, Metrics
from biggan_jax.training.monitoring.pictures import real_sheet, samples_sheet
from biggan_jax.training.run.checkpoints import Checkpoints, Restored
from biggan_jax.training.run.saved_run import CLASSES
from biggan_jax.training.step.state import TrainState


class Record:
    """The workdir of one run, and all that is written there.

    Raises:
      UserError: the workdir cannot be written, here or in any method.
    """

    def __init__(self, workdir: epath.Path, config: ConfigDict, source: Source):
        self.workdir, self._config, self._source = workdir, config, source
        self.checkpoints = Checkpoints(workdir / "checkpoints", config)
        self._rollbacks = self._read_rollbacks()
        self._metrics: Metrics | None = None

    @property
    def rollbacks(self) -> int:
        """How many times the run has gone back."""
        return len(self._rollbacks)

    def restore(self, state: Any) -> Restored | None:
        """The newest checkpoint that can be read, of the run as it is since its last rollback."""
        restored = self.checkpoints.restore_latest(state)
        if restored and self._rollbacks:
            back_to = self._rollbacks[-1]["to"]
            # The run was killed before it could delete them: these are of the collapse.
            if restored.step > back_to and Watch.from_json(restored.loop["watch"]).rollbacks < self.rollbacks:
                self.checkpoints.delete_after(back_to)
                return self.checkpoints.restore_latest(state)
        return restored

    def begin(self, step: int) -> None:
        """Opens what rows are written to, for a run that is taken up at `step`."""
        write_file(self.workdir / "config.json", json.dumps(config_to_json(self._config), indent=2).encode())
        write_file(
            self.workdir / CLASSES,
            json.dumps(self._source.class_names, indent=2, ensure_ascii=False).encode(),
        )
        real = self.workdir / "samples" / "real.png"
        if not real.exists():
            write_file(real, real_sheet(self._config, self._source))
        self._metrics = Metrics(self.workdir, step)

    def row(self, step: int, row: dict[str, float | None]) -> None:
        """Writes a row of metrics."""
        rules = self._config.checkpoints
        of_evaluation = "@" in rules.metric  # which few rows have
        expected = not of_evaluation or any("@" in name for name in row)
        if rules.best and expected and rules.metric not in row:
            raise UserError(
                f"config.checkpoints.metric = {rules.metric!r}: rows of metrics don't have it; choose one of "
                f"{', '.join(sorted(row))}"
            )
        self._metrics.write(step, row)

    def draw(self, step: int, state: TrainState) -> None:
        """Draws the sheet of samples of this step, and the curves so far."""
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
        """Saves a checkpoint in the background, after the rows before it."""
        self._metrics.flush()
        self.checkpoints.save(step, state, loop, scores)

    def note_rollback(self, collapse: Collapse, to: int) -> None:
        """Notes, for good, that the run goes back to step `to`, and puts its rows so far aside."""
        self._rollbacks.append({"step": collapse.step, "seen": collapse.reason, "to": to})
        rows = self.workdir / FILE_NAME
        write_file(self.workdir / f"metrics-{self.rollbacks}.jsonl", rows.read_bytes())
        write_file(self.workdir / "rollbacks.json", json.dumps(self._rollbacks, indent=2).encode())

    def end(self) -> None:
        """Closes what `begin` has opened; checkpoints stay open."""
        if self._metrics:
            self._metrics.close()
            self._metrics = None

    def _read_rollbacks(self) -> list[dict[str, Any]]:
        path = self.workdir / "rollbacks.json"
        return json.loads(path.read_text()) if path.exists() else []
