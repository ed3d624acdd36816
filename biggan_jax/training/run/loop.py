"""The training loop: resumes a run from its workdir and trains to the last step.

A run that is stopped and started again ends with the weights and metrics, bit for bit, of one that never
stopped. All processes of a run do the same steps and come to the same decisions, from numbers that the step
gives to all of them. The first process alone reads and writes the workdir (`record.py`).
"""

import contextlib
import functools
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from biggan_jax.config import config_to_json, differences, validate
from biggan_jax.data import Source, open_source
from biggan_jax.runtime.files import WORKDIR, resolve_directory
from biggan_jax.runtime.interruption import Interruption
from biggan_jax.runtime.memory import enough_memory
from biggan_jax.runtime.ownership import owning
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.monitoring.collapse import (
    Collapse,
    CollapseError,
    Watch,
    broken_state,
    check_row,
    collapse_error,
    rates_after,
    rng_after,
    rollback_step,
)
from biggan_jax.training.monitoring.metrics import Stopwatch, mean
from biggan_jax.training.monitoring.progress import Progress
from biggan_jax.training.monitoring.singular_values import as_metrics, top_singular_values
from biggan_jax.training.run.call_batches import call_batches
from biggan_jax.training.run.evaluation import Evaluation, OpenEvaluation
from biggan_jax.training.run.footprint import smaller, smaller_evaluation
from biggan_jax.training.run.initialization import first_state
from biggan_jax.training.run.position import End, Position, Start
from biggan_jax.training.run.record import LOCK, Record
from biggan_jax.training.run.schedule import (
    Due,
    checks_singular_values,
    due_after,
    warn_of_epochs,
)
from biggan_jax.training.run.step_metrics import Row, StepMetrics
from biggan_jax.training.step.finite import not_finite
from biggan_jax.training.step.losses import LOSSES, warn_of_convergence
from biggan_jax.training.step.program import make_call
from biggan_jax.training.step.state import TrainState, abstract_state
from biggan_jax.training.step.update import make_update

CALLS_IN_FLIGHT = 2  # dispatched and not yet done: the device never idles, and the host never runs away


def train(
    config: ConfigDict, workdir: str | os.PathLike, open_evaluation: OpenEvaluation | None = None
) -> int:
    """Trains until `config.total_steps`, or until SIGINT or SIGTERM, when it saves its state.

    Args:
      config: The whole config.
      workdir: Directory or `gs://BUCKET/…`; only the first process reads and writes it.
      open_evaluation: Function that makes the evaluation; needed if `config.evaluation.every` is not 0.

    Returns:
      The process's exit code: 0 if the run is finished, else `Interruption.exit_code`.

    Raises:
      UserError: The config is impossible, the data is missing, the workdir cannot be written, holds a run of
        another architecture or is in use by another process, memory runs out, or the run has collapsed.
    """
    validate(config, replicas=jax.device_count())
    data, directory = config.data, resolve_directory(workdir)
    with Interruption() as interruption, contextlib.ExitStack() as stack:
        stack.enter_context(enough_memory(lambda: smaller(config)))
        writes = jax.process_index() == 0
        still_owner = stack.enter_context(owning(directory, LOCK, WORKDIR)) if writes else None
        source = open_source(
            data.source,
            split=data.split,
            resolution=config.model.resolution,
            num_classes=config.model.num_classes,
            max_refused=data.max_refused,
        )
        record = Record(directory, config, source, still_owner) if still_owner else None
        run = _Run(config, source, record, interruption, open_evaluation)
        start = run.resume()
        if start.step >= config.total_steps and not start.awaits_evaluation(config):
            run.print(f"already finished: {workdir} is at step {start.step}; to continue, raise total_steps")
            return 0
        end = run.train(start)
        while end.collapse is not None:
            start = run.roll_back(end.collapse, start.rollbacks)
            end = run.train(start)
        if record:
            record.checkpoints.close()
        if end.step == config.total_steps and not end.awaits_evaluation:
            run.print(f"finished: step {end.step}; the run is in {workdir}")
            return 0
        command = shlex.join(sys.orig_argv)
        run.print(f"saved at step {end.step} of {config.total_steps}; to resume:\n  {command}")
        return interruption.exit_code(end.signal)


class _Run:
    """One process's part in a run; `record` is None in all processes but the first."""

    def __init__(
        self,
        config: ConfigDict,
        source: Source,
        record: Record | None,
        interruption: Interruption,
        open_evaluation: OpenEvaluation | None,
    ):
        self._config, self._source, self._record, self._interruption = config, source, record, interruption
        self._replicas = Replicas(config.replicas.mapping)
        self._images_per_step = config.batch_size * config.d_steps
        self._evaluation = self._open_evaluation(open_evaluation) if config.evaluation.every else None
        self.print(self._announcement())

    def print(self, line: str) -> None:
        """Prints a line, in the first process alone."""
        if self._record:
            print(line, flush=True)

    def resume(self) -> Start:
        """Puts the state of the newest readable checkpoint, or the initial state, on all devices."""
        state, saved = abstract_state(self._config), None
        if self._record:
            restored, rollbacks = self._record.restore(state), self._record.rollbacks
            saved = {"rollbacks": rollbacks, "step": 0, "loop": {}}
            if restored:
                self.print(f"resuming at step {restored.step}")
                for field, values in differences(restored.config, config_to_json(self._config)).items():
                    self.print(f"  changed since then: {field} {values}")
                for line in self._record.refuse_other_images(restored):
                    self.print(f"  {line}")
                saved |= {"step": restored.step, "loop": restored.loop}
                state = restored.state
            else:
                workdir, class_names = self._record.workdir, self._source.class_names
                state = first_state(self._config, workdir, class_names, self.print)
            if rollbacks:
                state = state.replace(rng=rng_after(self._config.seed, rollbacks))
        saved = self._replicas.broadcast(saved)
        rollbacks, watch = saved["rollbacks"], Watch.from_json(saved["loop"].get("watch", {}))
        if watch.rollbacks < rollbacks:
            watch = watch.after_rollback(rollbacks)
        unlogged = saved["loop"].get("unlogged", [])
        return Start(saved["step"], self._replicas.put_state(state), unlogged, watch, rollbacks)

    def train(self, start: Start) -> End:
        """Trains from `start` to the last step, or to a signal or a collapse."""
        config, record = self._config, self._record
        now = Position(start.step, start.state, StepMetrics(start.unlogged), start.watch, start.rollbacks)
        call, stream = self._compile(now.rollbacks), call_batches(config, self._source, start)
        stopwatch = Stopwatch()
        if record:
            record.begin(start.step, start.awaits_evaluation(config))
            record.checkpoints.refuse_without_room(start.state)
        console = None if record else Console(quiet=True)
        progress = Progress(config.total_steps, now.step, self._images_per_step, console)
        try:
            if start.awaits_evaluation(config):
                self._finish(now, due_after(config, now.step - 1, now.step), stopwatch, progress)
            while now.step < config.total_steps and not now.signal and not now.collapse:
                batch = next(stream)
                count = batch["labels"].shape[0]
                due = due_after(config, now.step, now.step + count)
                first = now.step == start.step
                self._dispatch(call, batch, now)
                self._interruption.stepping = True
                self._wait(now, calls_left=0 if first or due.anything else CALLS_IN_FLIGHT)
                stopwatch.step(count)
                self._finish(now, due, stopwatch, progress)
            if record:
                record.checkpoints.wait()
            return End(now.step, now.signal, now.collapse, now.awaits_evaluation)
        finally:
            progress.close()
            if record:
                record.end()

    def _finish(self, now: Position, due: Due, stopwatch: Stopwatch, progress: Progress) -> None:
        """Does what is due after a call: the rows with their evaluation, the sheet, and the checkpoint."""
        now.awaits_evaluation = due.evaluation and now.signal > 0
        if now.awaits_evaluation:  # the checkpoint holds the steps of the row, and the run resumes with it
            due = Due(row=False, sheet=False, evaluation=False, checkpoint=True)
        if due.row or due.checkpoint or now.signal:
            now.metrics.fetch()
            now.collapse = now.metrics.first_not_finite(now.step)
        if (due.checkpoint or now.signal) and not now.collapse:
            now.collapse = broken_state(now.step, not_finite(now.state))
        row = self._log(now, due, stopwatch) if due.row else None
        progress.update(now.step, row)
        if not now.collapse:
            with stopwatch.paused():
                self._save(now, due)
        elif due.evaluation and self._record:  # whose scores may show the collapse of a saved state
            self._record.checkpoints.delete_after(now.step - 1)

    def roll_back(self, collapse: Collapse, rollbacks: int) -> Start:
        """Resumes from before a collapse with another seed and other learning rates.

        Raises:
          CollapseError: The config wants no rollback, or none is left.
        """
        config, record, to, error = self._config, self._record, None, ""
        if record:
            steps = record.checkpoints.steps
            if config.on_collapse == "rollback":
                to = rollback_step(config.collapse, rollbacks, steps)
            error = str(collapse_error(collapse, rollbacks, steps, record.workdir / "checkpoints"))
        to, error = self._replicas.broadcast((to, error))
        if to is None:
            raise CollapseError(error)
        self.print(f"{collapse}\ngoing back to step {to} (rollback {rollbacks + 1})")
        if record:
            record.note_rollback(collapse, to)
            record.checkpoints.delete_after(to)
        return self.resume()

    def _dispatch(self, call: Callable[..., Any], batch: dict[str, np.ndarray], now: Position) -> None:
        """Starts one call of the compiled program, without waiting for its results."""
        signal = self._replicas.put_scalar(self._interruption.signal)
        now.state, (metrics, signals) = call(now.state, (self._replicas.put_batch(batch), signal))
        now.step += batch["labels"].shape[0]
        now.metrics.add(metrics)
        now.in_flight.append((metrics, signals))

    def _wait(self, now: Position, calls_left: int) -> None:
        """Waits until at most `calls_left` calls are in flight, and notes any process's stop signal."""
        while len(now.in_flight) > (0 if self._replicas.must_wait else calls_left):
            # A signal counts when the call that carried it is done: in all processes that is the same call.
            _, signals = jax.block_until_ready(now.in_flight.popleft())
            now.signal = max(now.signal, int(signals))

    def _log(self, now: Position, due: Due, stopwatch: Stopwatch) -> Row:
        """Writes the rows that are due and checks each for a collapse; returns the last."""
        row, rate = {}, stopwatch.lap()
        with stopwatch.paused():
            for step, steps in now.metrics.take_rows(now.step, self._config):
                checked = checks_singular_values(self._config, step)
                singular_values = self._singular_values(now.state) if checked else {}
                row = mean(steps)
                row |= {"steps_per_second": rate, "images_per_second": rate and rate * self._images_per_step}
                row |= as_metrics(singular_values)
                row |= {"rollbacks": now.rollbacks} if now.rollbacks else {}
                check = functools.partial(
                    check_row, self._config.collapse, LOSSES[self._config.loss], now.watch, step
                )
                healthy = now.collapse is None and check(row, singular_values)[1] is None
                if due.evaluation and step == now.step and healthy:
                    row |= self._evaluate(now, steps, row)
                if self._record:
                    self._record.row(step, row)
                now.watch, collapse = check(row, singular_values)
                now.collapse, now.scores = now.collapse or collapse, row
        return row

    def _save(self, now: Position, due: Due) -> None:
        """Writes the sheet of samples and the checkpoint, if due; a stop signal makes a checkpoint due."""
        if not self._record:
            return
        if due.sheet:
            self._record.draw(now.step, now.state)
        if due.evaluation:
            self._record.rank(now.step, now.scores)
        elif due.checkpoint or now.signal:
            self._record.save(now.step, now.state, now.carried(now.metrics.unlogged), now.scores)

    def _compile(self, rollbacks: int) -> Callable[..., Any]:
        """Makes the program of one call, which also returns the strongest signal of any process."""
        unroll = self._replicas.devices[0].platform == "cpu"
        update = make_update(rates_after(self._config, rollbacks), AXIS, unroll)
        return make_call(update, self._replicas, unroll)

    def _open_evaluation(self, open_evaluation: OpenEvaluation | None) -> Evaluation:
        if open_evaluation is None:
            raise ValueError("config.evaluation.every is not 0: give `open_evaluation`")
        workdir = self._record.workdir if self._record else None
        console = Console(quiet=not self._record, highlight=False, markup=False)
        return open_evaluation(self._config, self._source, workdir, console)

    def _evaluate(self, now: Position, steps: list[Row], row: Row) -> Mapping[str, float | None]:
        """Saves the state, then returns scores of the averaged generator, the same in all processes.

        If the run has resumed after the evaluation of this step, the row that is there is returned.

        A signal during the evaluation ends the process: the checkpoint holds the steps of the row, and the
        run resumes with the evaluation.
        """
        assert self._evaluation is not None
        evaluated = self._record.evaluated if self._record else None
        if evaluated := self._replicas.broadcast(evaluated):
            return evaluated
        if self._record:
            self._record.save(now.step, now.state, now.carried(steps), row)
            self._record.checkpoints.wait()
        self._replicas.broadcast(None)  # no process ends before the first has saved
        with self._interruption.may_end(f"saved at step {now.step}, and stopped before its evaluation ended"):
            with enough_memory(lambda: smaller_evaluation(self._config)):
                return self._evaluation.scores(*jax.device_get((now.state.ema_params, now.state.generator.u)))

    def _singular_values(self, state: TrainState) -> dict[str, np.ndarray]:
        """Computes those of both networks' weights in the first process and broadcasts them."""
        values = None
        if self._record:
            params = {"generator": state.generator.params, "discriminator": state.discriminator.params}
            values = {path: top.tolist() for path, top in top_singular_values(params).items()}
        return {path: np.array(top) for path, top in self._replicas.broadcast(values).items()}

    def _announcement(self) -> str:
        replicas, processes = self._replicas, jax.process_count()
        devices = f"{replicas.count} × {replicas.devices[0].device_kind}"
        spread = f" in {processes} processes" if processes > 1 else ""
        line = f"{self._source.description}; batches of {self._config.batch_size} on {devices}{spread}"
        warnings = warn_of_epochs(self._config, self._source.num_examples), warn_of_convergence(self._config)
        return "\n".join([line, *filter(None, warnings)])
