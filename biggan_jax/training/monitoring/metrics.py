"""The metrics of a run: `metrics.jsonl`, one JSON object a row, and the same numbers for TensorBoard.

A row has `step`, the metrics of the step (`d_loss`, `g_loss`, …; each the mean over the steps since the row
before), `steps_per_second` and `images_per_second`. Every row is strict JSON: NaN, infinities and unknown
rates are `null`. TensorBoard's events keep NaN and infinities.

Objects in a bucket cannot be appended to. There both files grow in a temporary directory of this machine and
are uploaded in full by `flush`, by `close`, and with the first row after `UPLOAD_SECONDS`.
"""

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from etils import epath
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2

from biggan_jax.runtime.files import is_object_store, write_file, writing
from biggan_jax.training.monitoring.rows import parse_row

# Generated classes, which exist at run time only.
Event: Any = getattr(event_pb2, "Event")  # noqa: B009
SessionLog: Any = getattr(event_pb2, "SessionLog")  # noqa: B009
Summary: Any = getattr(summary_pb2, "Summary")  # noqa: B009

FILE_NAME = "metrics.jsonl"
UPLOAD_SECONDS = 60.0  # between uploads of both files, for which the steps wait


class Metrics:
    """Appends rows to `workdir/metrics.jsonl` and to event files in `workdir/tensorboard/`.

    Args:
      workdir: Directory of the run, local or `gs://BUCKET/…`.
      step: Step at which this process resumes the run. Rows after it, and a last line that a killed process
        left incomplete, are dropped, so that the file equals that of a run that never stopped.

    Raises:
      UserError: A file cannot be written, here or in any method.
    """

    def __init__(self, workdir: str | os.PathLike, step: int):
        self._workdir = epath.Path(workdir)
        with writing(self._workdir / FILE_NAME):
            rows = _drop_rows_after(self._workdir / FILE_NAME, step)
        self._spool: tempfile.TemporaryDirectory | None = None
        directory = self._workdir
        if is_object_store(self._workdir):
            self._spool = tempfile.TemporaryDirectory(prefix="biggan-metrics-")
            directory = epath.Path(self._spool.name)
            write_file(directory / FILE_NAME, rows)
        self._path, self._events_directory = directory / FILE_NAME, directory / "tensorboard"
        with writing(self._path):
            self._file = self._path.open("a", encoding="utf-8")
        with writing(self._events_directory):
            self._events_directory.mkdir(parents=True, exist_ok=True)
            # Not SummaryWriter: its thread dies of a full disk in silence, and the run hangs on its queue.
            self._events = EventsWriter(os.fspath(self._events_directory / "events"), f".{step:08d}")
            if step:  # makes TensorBoard drop what an earlier process wrote from here on
                self._write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        self._uploaded_all, self._uploaded_at = False, time.monotonic()

    def write(self, step: int, row: Mapping[str, float | None]) -> None:
        """Writes one row.

        A kill of the process after the call does not lose the row, except in a bucket (see `flush`).

        Args:
          step: Step of the row.
          row: Numbers by name.
        """
        finite = {name: value if _is_finite(value) else None for name, value in row.items()}
        with writing(self._path):
            self._file.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
            self._file.flush()
        known = {name: value for name, value in row.items() if value is not None}
        summary = Summary(value=[Summary.Value(tag=name, simple_value=known[name]) for name in known])
        with writing(self._events_directory):
            self._write_event(Event(step=step, summary=summary))
        self._uploaded_all = False
        if time.monotonic() - self._uploaded_at >= UPLOAD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Uploads all rows to a bucket; call it before each save, so that no checkpoint outlives its rows."""
        if self._spool is None or self._uploaded_all:
            return
        for path in (self._path, *self._events_directory.iterdir()):
            write_file(self._workdir / path.relative_to(self._spool.name), path.read_bytes())
        self._uploaded_all, self._uploaded_at = True, time.monotonic()

    def close(self) -> None:
        """Closes both files, after the last upload."""
        with writing(self._path):
            self._file.close()
        with writing(self._events_directory):
            self._events.close()
        self.flush()
        if self._spool:
            self._spool.cleanup()

    def _write_event(self, event: Any) -> None:
        event.wall_time = time.time()
        self._events.write_event(event)
        self._events.flush()


class Stopwatch:
    """Measures steps per second, without pauses. It starts at the end of the first step, which compiles."""

    def __init__(self) -> None:
        self._steps, self._seconds = 0, 0.0
        self._since: float | None = None

    def step(self, count: int = 1) -> None:
        """Counts the finished steps of one call."""
        if self._since is not None:
            self._steps += count
        self._read()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time of the block."""
        self._read()
        yield
        self._since = time.perf_counter()

    def lap(self) -> float | None:
        """Returns steps per second since the last lap; None if no step was timed."""
        rate = self._steps / self._seconds if self._steps else None
        self._steps, self._seconds = 0, 0.0
        return rate

    def _read(self) -> None:
        now = time.perf_counter()
        if self._since is not None:
            self._seconds += now - self._since
        self._since = now


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean of each number over the rows, in float64."""
    return {name: math.fsum(float(row[name]) for row in rows) / len(rows) for name in rows[0]}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _drop_rows_after(path: epath.Path, step: int) -> bytes:
    """Drops later, incomplete and damaged rows from the file; returns the remaining bytes."""
    if not path.exists():
        return b""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = b"".join(line for line in lines if line.endswith(b"\n") and _step_of(line) <= step)
    if kept != b"".join(lines):
        write_file(path, kept)
    return kept


def _step_of(line: bytes) -> float:
    """Returns the row's step; infinity for an incomplete or damaged row."""
    row = parse_row(line)
    return math.inf if row is None else row["step"] or 0
