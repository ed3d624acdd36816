"""The loop: takes a run up where its workdir left it, and brings it to its last step.

An interval of 0 means never: no samples at all, no checkpoints but the last. A run that is stopped and
started again ends with the weights and metrics, bit for bit, of one that never stopped. All processes of a
run do the same steps and come to the same decisions, from numbers that the step gives to all of them; the
first alone reads and writes the workdir (record.py).
"""

import collections
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from rich.console import Console

from biggan_jax.config import config_to_json, differences, validate
from biggan_jax.data import Source, batches, open_source
from biggan_jax.runtime.files import resolve_directory
from biggan_jax.runtime.interruption import Interruption
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.monitoring.collapse import (
    Collapse,
    CollapseError,
    Watch,
    collapse_error,
    not_finite,
    rates_after,
    rng_after,
    rollback_step,
    see,
    seed_after,
)
from biggan_jax.training.monitoring.metrics import Stopwatch, mean
from biggan_jax.training.monitoring.progress import Progress
from biggan_jax.training.monitoring.singular_values import as_metrics, top_singular_values
from biggan_jax.training.run.initialization import first_state
from biggan_jax.training.run.record import Record
from biggan_jax.training.step.program import make_call
from biggan_jax.training.step.state import TrainState, abstract_state
from biggan_jax.training.step.update import make_update

CALLS_IN_FLIGHT = 2  # dispatched and not yet done: the device never idles, and the host never runs away

Row = dict[str, float | None]


class Evaluation(Protocol):
    """Scores of the averaged generator, by their names; every process calls it at the same steps."""

    def scores(self, params: Any, u: dict[str, Any]) -> dict[str, float]: ...


# Evaluation stands above training: whoever calls `train` brings it (evaluation/during_training.py).
OpenEvaluation = Callable[[ConfigDict, Source, epath.Path | None, Console], Evaluation]


def train(
    config: ConfigDict, workdir: str | os.PathLike, open_evaluation: OpenEvaluation | None = None
) -> int:
    """Trains until `config.total_steps`, or until SIGINT or SIGTERM, when it saves its state.

    Args:
      config: the whole config.
      workdir: a directory, or `gs://BUCKET/…`; only the first process looks at it.
      open_evaluation: makes the evaluation of `config.evaluation.every`; needed if that is not 0.

    Returns:
      The process's exit code: 0 if the run is finished, else `Interruption.exit_code`.

    Raises:
      UserError: the config is impossible, the data is missing, the workdir cannot be written or holds a run
        of another architecture, or the run has collapsed.
    """
    validate(config, replicas=jax.device_count())
    data, directory = config.data, resolve_directory(workdir)
    with Interruption() as interruption:
        source = open_source(
            data.source,
            split=data.split,
            resolution=config.model.resolution,
            num_classes=config.model.num_classes,
            max_refused=data.max_refused,
        )
        record = Record(directory, config, source) if jax.process_index() == 0 else None
        run = _Run(config, source, record, interruption, open_evaluation)
        start = run.take_up()
        if start.step >= config.total_steps:
            run.say(f"already finished: {workdir} is at step {start.step}; to go on, raise total_steps")
            return 0
        while True:
            end = run.go_on(start)
            if end.collapse is None:
                break
            start = run.go_back(end.collapse, start.rollbacks)
        if record:
            record.checkpoints.close()
        if end.step == config.total_steps:
            run.say(f"finished: step {end.step}; the run is in {workdir}")
            return 0
        run.say(f"saved at step {end.step} of {config.total_steps}; to go on:\n  {shlex.join(sys.orig_argv)}")
        return interruption.exit_code(end.signal)


class _Start(NamedTuple):
    """Where a run is taken up."""

    step: int
    state: TrainState  # on the devices
    unlogged: list[Row]  # numbers of the steps since the last row, a row each
    watch: Watch
    rollbacks: int


class _End(NamedTuple):
    """Why a run was left, all checkpoints written: at its last step, or one of the two reasons."""

    step: int
    signal: int = 0
    collapse: Collapse | None = None


class _Due(NamedTuple):
    """What is to be done after a call that ends at `step`."""

    step: int
    row: bool
    sheet: bool
    evaluation: bool
    checkpoint: bool


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
        for line in self._announcement():
            self.say(line)

    def say(self, line: str) -> None:
        """Prints a line, in one process."""
        if self._record:
            print(line, flush=True)

    def take_up(self) -> _Start:
        """The state of the newest checkpoint that can be read, or of the beginning, on all devices."""
        state, told = abstract_state(self._config), None
        if self._record:
            restored, rollbacks = self._record.restore(state), self._record.rollbacks
            told = {"rollbacks": rollbacks, "step": 0, "loop": {}}
            if restored:
                self.say(f"resuming at step {restored.step}")
                for field, values in differences(restored.config, config_to_json(self._config)).items():
                    self.say(f"  changed since then: {field} {values}")
                told |= {"step": restored.step, "loop": restored.loop}
            state = restored.state if restored else self._first_state()
            if rollbacks:
                state = state.replace(rng=rng_after(self._config.seed, rollbacks))
        told = self._replicas.broadcast(told)
        rollbacks, watch = told["rollbacks"], Watch.from_json(told["loop"].get("watch", {}))
        if watch.rollbacks < rollbacks:
            watch = watch.after_rollback(rollbacks)
        unlogged = told["loop"].get("unlogged", [])
        return _Start(told["step"], self._replicas.put_state(state), unlogged, watch, rollbacks)

    def _first_state(self) -> TrainState:
        return first_state(self._config, self._record.workdir, self._source.class_names, self.say)

    def go_on(self, start: _Start) -> _End:
        """Does the steps from `start` on: to the last, or to a signal or collapse."""
        config, replicas, record = self._config, self._replicas, self._record
        step, state, unlogged, watch, rollbacks = start
        step_function, stream = self._step_function(rollbacks), self._batches(step, rollbacks)
        in_flight: collections.deque[tuple[Any, jax.Array]] = collections.deque()
        pending: list[Any] = []  # on the devices: numbers of the steps since `unlogged`
        stopwatch, signal, scores = Stopwatch(), 0, {}
        if record:
            record.begin(step)
        console = None if record else Console(quiet=True)
        progress = Progress(config.total_steps, step, self._images_per_step, console)
        self._interruption.stepping = True
        try:
            while step < config.total_steps and not signal:
                batch = next(stream)
                due = self._due(step, step + batch["labels"].shape[0])
                first, step = step == start.step, due.step
                wish = replicas.put_scalar(self._interruption.signal)
                state, (numbers, wishes) = step_function(state, (replicas.put_batch(batch), wish))
                pending.append(numbers)
                in_flight.append((numbers, wishes))
                wait = replicas.must_wait or first or due.row or due.sheet or due.checkpoint
                while len(in_flight) > (0 if wait else CALLS_IN_FLIGHT):
                    # A wish counts when its call is done, not when it is uttered: in all processes that is
                    # the same call.
                    signal = max(signal, int(jax.block_until_ready(in_flight.popleft())[1]))
                stopwatch.step(batch["labels"].shape[0])

                row, collapse = None, None
                if due.row or due.checkpoint or signal:
                    unlogged += [row for call in jax.device_get(pending) for row in _unstack(call)]
                    pending = []
                    collapse = _first_not_finite(unlogged, step)
                if due.row:
                    rows, unlogged = _rows(unlogged, step, config)
                    rate = stopwatch.lap()
                    with stopwatch.paused():
                        for at, row in rows:
                            look = self._singular_values(state) if self._is_look(at) else {}
                            row |= self._speed(rate) | as_metrics(look)
                            row |= {"rollbacks": rollbacks} if rollbacks else {}
                            if due.evaluation and at == step and not collapse:
                                row |= self._evaluate(state)
                            if record:
                                record.row(at, row)
                            watch, seen = see(config.collapse, watch, at, row, look)
                            collapse, scores = collapse or seen, row
                progress.update(step, row)
                if collapse:
                    return self._leave(_End(step, collapse=collapse))
                with stopwatch.paused():
                    if due.sheet and record:
                        record.draw(step, state)
                    if (due.checkpoint or signal) and record:
                        loop = {"unlogged": unlogged, "watch": watch.to_json()}
                        record.save(step, state, loop, scores)
            return self._leave(_End(step, signal))
        finally:
            progress.close()
            if record:
                record.end()

    def go_back(self, collapse: Collapse, rollbacks: int) -> _Start:
        """The run before a collapse, with another seed and rates; an error if that is not wanted."""
        config, record, to, error = self._config, self._record, None, ""
        if record:
            steps = record.checkpoints.steps
            if config.on_collapse == "rollback":
                to = rollback_step(config.collapse, rollbacks, steps)
            error = str(collapse_error(collapse, rollbacks, steps, record.workdir / "checkpoints"))
        to, error = self._replicas.broadcast((to, error))
        if to is None:
            raise CollapseError(error)
        self.say(f"{collapse}\ngoing back to step {to} (rollback {rollbacks + 1})")
        if record:
            record.note_rollback(collapse, to)
            record.checkpoints.delete_after(to)
        return self.take_up()

    def _leave(self, end: _End) -> _End:
        """Returns `end` when the last save is on disk."""
        if self._record:
            self._record.checkpoints.wait()
        return end

    def _step_function(self, rollbacks: int) -> Callable[..., Any]:
        """`steps_per_call` steps as one program, which also returns the strongest wish of any process."""
        unroll = self._replicas.devices[0].platform == "cpu"
        update = make_update(rates_after(self._config, rollbacks), AXIS, unroll)
        return make_call(update, self._replicas, unroll)

    def _batches(self, step: int, rollbacks: int) -> Iterator[dict[str, np.ndarray]]:
        """This process's part of each call's batches, `[steps, d_steps, …]`."""
        config = self._config
        stream = batches(
            self._source,
            batch_size=config.batch_size,
            d_steps=config.d_steps,
            seed=seed_after(config.seed, rollbacks),
            start_step=step,
            random_flip=config.data.random_flip,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        while step < config.total_steps:
            # Calls end at multiples of steps_per_call, wherever the run was taken up.
            count = min(config.steps_per_call - step % config.steps_per_call, config.total_steps - step)
            parts = [next(stream) for _ in range(count)]
            yield {name: np.stack([part[name] for part in parts]) for name in parts[0]}
            step += count

    def _due(self, before: int, step: int) -> "_Due":
        """What is to be done after the call from `before` to `step`."""
        config, finished = self._config, step == self._config.total_steps

        def at(every: int) -> bool:
            return every > 0 and (finished or step % every == 0)

        evaluation = at(config.evaluation.every)
        return _Due(
            step,
            row=finished or step // config.log_every > before // config.log_every,
            sheet=at(config.sample_every),
            evaluation=evaluation,
            # A state that has been evaluated must be there to be kept, if it is among the best.
            checkpoint=finished
            or at(config.checkpoint_every)
            or (evaluation and config.checkpoints.best > 0),
        )

    def _speed(self, rate: float | None) -> Row:
        return {"steps_per_second": rate, "images_per_second": rate and rate * self._images_per_step}

    def _open_evaluation(self, open_evaluation: OpenEvaluation | None) -> Evaluation:
        if open_evaluation is None:
            raise ValueError("config.evaluation.every needs `open_evaluation`")
        workdir = self._record.workdir if self._record else None
        console = Console(quiet=not self._record, highlight=False, markup=False)
        return open_evaluation(self._config, self._source, workdir, console)

    def _evaluate(self, state: TrainState) -> Row:
        """Scores of the averaged generator, the same in all processes."""
        return self._evaluation.scores(*jax.device_get((state.ema_params, state.generator.u)))

    def _is_look(self, step: int) -> bool:
        """Whether the row of this step is the first since a multiple of `check_every`."""
        every, before = self._config.collapse.check_every, (step - 1) // self._config.log_every
        return every > 0 and step // every > before * self._config.log_every // every

    def _singular_values(self, state: TrainState) -> dict[str, np.ndarray]:
        """Those of both networks' weights, as the first process finds them."""
        found = None
        if self._record:
            params = {"generator": state.generator.params, "discriminator": state.discriminator.params}
            found = {path: values.tolist() for path, values in top_singular_values(params).items()}
        return {path: np.array(values) for path, values in self._replicas.broadcast(found).items()}

    def _announcement(self) -> Iterator[str]:
        replicas, processes = self._replicas, jax.process_count()
        devices = f"{replicas.count} × {replicas.devices[0].device_kind}"
        spread = f" in {processes} processes" if processes > 1 else ""
        yield f"{self._source.description}; batches of {self._config.batch_size} on {devices}{spread}"


def _unstack(call: Mapping[str, np.ndarray]) -> Iterator[Row]:
    """The numbers of a call's steps, `[steps]` each, as one row for each step."""
    for values in zip(*call.values(), strict=True):
        yield {name: float(value) for name, value in zip(call, values, strict=True)}


def _rows(steps: list[Row], last: int, config: ConfigDict) -> tuple[list[tuple[int, Row]], list[Row]]:
    """Rows of metrics with their steps, of the numbers of the steps up to `last`, and what is left."""
    rows, part = [], []
    for step, numbers in enumerate(steps, start=last - len(steps) + 1):
        part.append(numbers)
        if step % config.log_every == 0 or step == config.total_steps:
            rows.append((step, mean(part)))
            part = []
    return rows, part


def _first_not_finite(steps: list[Row], last: int) -> Collapse | None:
    for step, numbers in enumerate(steps, start=last - len(steps) + 1):
        if collapse := not_finite(step, numbers):
            return collapse
    return None
