"""What a run shows of itself: a progress bar on a terminal, a plain line now and then in a log."""

import collections
import datetime
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 5.0
SECONDS_OF_RATE = 30.0  # the rates shown are those of the last half minute, sheets and checkpoints included
WIDTH_FOR_BAR = 110  # columns; a narrower terminal has room for the numbers only


class Progress:
    """Shows the step, steps/s, images/s, time left, and the losses of the last row of metrics.

    Args:
      total_steps: the run's last step.
      step: the step at which this process takes the run up.
      images_per_step: real images seen by one step.
      console: where to; by default standard output.
    """

    def __init__(self, total_steps: int, step: int, images_per_step: int, console: Console | None = None):
        self._total, self._images_per_step = total_steps, images_per_step
        self._losses = ""
        self._recent: collections.deque[tuple[float, int]] = collections.deque()
        self._next_line = 0.0
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        if self._console.is_terminal:
            bar = [BarColumn(None)] if self._console.width >= WIDTH_FOR_BAR else []
            self._bar = Bar(TextColumn("{task.description}"), *bar, console=self._console, expand=True)
            self._task = self._bar.add_task("compiling", total=total_steps, completed=step)
            self._bar.start()
        else:
            self._console.print("compiling")

    def update(self, step: int, row: Mapping[str, float | None] | None = None) -> None:
        """Shows that `step` is done; `row` is its row of metrics, if it has one."""
        if row:
            self._losses = " ".join(f"{name} {row[name]:.2f}" for name in ("d_loss", "g_loss"))
        now = time.monotonic()
        self._recent.append((now, step))
        while now - self._recent[0][0] > SECONDS_OF_RATE and len(self._recent) > 2:
            self._recent.popleft()
        line = f"step {step}/{self._total}  {self._speed(step)}  {self._losses}".rstrip()
        if self._bar:
            self._bar.update(self._task, completed=step, description=line)
        elif now >= self._next_line or step == self._total:
            self._next_line = now + SECONDS_BETWEEN_LINES
            self._console.print(line)

    def close(self) -> None:
        """Takes the bar off the terminal's hands."""
        if self._bar:
            self._bar.stop()

    def _speed(self, step: int) -> str:
        (start, first), (end, _) = self._recent[0], self._recent[-1]
        if step == first:  # the first step of this process, which was all compiling
            return ""
        rate = (step - first) / (end - start)
        left = datetime.timedelta(seconds=round((self._total - step) / rate))
        return f"{rate:.3g} steps/s  {rate * self._images_per_step:.0f} images/s  ETA {left}"
