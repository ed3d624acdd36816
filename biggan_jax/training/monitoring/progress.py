"""Progress of a run: a bar on a terminal, a line every few seconds in a log."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, TextColumn

from biggan_jax.runtime.progress import Rate, Throttle, bar

SECONDS_BETWEEN_LINES = 5.0
WIDTH_FOR_BAR = 110  # columns; a narrower terminal has room for the numbers only


class Progress:
    """Shows the step, steps/s, images/s, time left, and the losses of the last row of metrics.

    Args:
      total_steps: Last step of the run.
      step: Step at which this process resumes the run.
      images_per_step: Number of real images in one step.
      console: Console to write to; by default standard output.
    """

    def __init__(self, total_steps: int, step: int, images_per_step: int, console: Console | None = None):
        self._total, self._images_per_step = total_steps, images_per_step
        self._losses = ""
        self._rate, self._throttle = Rate(), Throttle(SECONDS_BETWEEN_LINES)
        self._console = console or Console(highlight=False, soft_wrap=True)
        columns = [BarColumn(None)] if self._console.width >= WIDTH_FOR_BAR else []
        text = TextColumn("{task.description}")
        self._bar = bar(self._console, text, *columns, transient=False, expand=True)
        self._task = self._bar.add_task("compiling", total=total_steps, completed=step)
        self._bar.start()
        if not self._console.is_terminal:
            self._console.print("compiling")

    def update(self, step: int, row: Mapping[str, float | None] | None = None) -> None:
        """Shows that `step` is done.

        Args:
          step: The step.
          row: Its row of metrics, if it has one.
        """
        if row:
            self._losses = " ".join(f"{name} {row[name]:.2f}" for name in ("d_loss", "g_loss"))
        self._rate.record(step)
        line = f"step {step}/{self._total}  {self._speed()}  {self._losses}".rstrip()
        self._bar.update(self._task, completed=step, description=line)
        if not self._console.is_terminal and (self._throttle.due() or step == self._total):
            self._console.print(line)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.stop()

    def _speed(self) -> str:
        rate = self._rate.per_second()
        if rate is None:  # the first step of this process, which was all compiling
            return ""
        left = self._rate.left(self._total)
        return f"{rate:.3g} steps/s  {rate * self._images_per_step:.0f} images/s  ETA {left}"
