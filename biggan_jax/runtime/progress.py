"""Progress of long work: a bar on a terminal, a plain line now and then in a log, with rate and time left."""

import collections
import contextlib
import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from biggan_jax.runtime.errors import EXIT_INTERRUPTED

SECONDS_BEFORE_LINES = 10.0  # shorter work prints nothing to a log
SECONDS_BETWEEN_LINES = 30.0
SECONDS_OF_RATE = 30.0

T = TypeVar("T")


class Throttle:
    """Spaces the lines of a log.

    Args:
      seconds: Least time between two lines.
      first: Least time before the first line.
    """

    def __init__(self, seconds: float = SECONDS_BETWEEN_LINES, first: float = 0.0):
        self._seconds, self._next = seconds, time.monotonic() + first

    def due(self) -> bool:
        """Returns whether a line may be printed now; if so, the next one has to wait."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


class Rate:
    """Estimates rate and time left from the last half minute of the work.

    The time before the first `record` does not count, so that work which compiles first may leave that out.
    """

    def __init__(self) -> None:
        self._recent: collections.deque[tuple[float, int]] = collections.deque()

    def record(self, done: int) -> None:
        """Records that `done` of the work is done now."""
        now = time.monotonic()
        self._recent.append((now, done))
        while now - self._recent[0][0] > SECONDS_OF_RATE and len(self._recent) > 2:
            self._recent.popleft()

    def per_second(self) -> float | None:
        """Returns the work done per second; None before the second record."""
        (start, first), (end, last) = self._recent[0], self._recent[-1]
        return (last - first) / (end - start) if last > first and end > start else None

    def left(self, total: int) -> datetime.timedelta | None:
        """Returns the time that the rest of `total` takes; None before the second record."""
        rate = self.per_second()
        if rate is None:
            return None
        return datetime.timedelta(seconds=round((total - self._recent[-1][1]) / rate))


def bar(console: Console, *columns: ProgressColumn, transient: bool = True, expand: bool = False) -> Progress:
    """Returns a progress bar that shows on a terminal only.

    Args:
      console: Console of the bar.
      *columns: Columns of the bar; by default its description, which is plain text, and the bar itself.
      transient: Whether the bar disappears at its end.
      expand: Whether the bar takes the terminal's whole width.
    """
    columns = columns or (TextColumn("{task.description}", markup=False), BarColumn())
    return Progress(
        *columns, console=console, transient=transient, expand=expand, disable=not console.is_terminal
    )


@contextlib.contextmanager
def counting(
    title: str,
    total: int,
    done: int = 0,
    *,
    unit: str = "",
    console: Console | None = None,
    lines: bool = True,
    quiet_seconds: float = SECONDS_BEFORE_LINES,
    compiles: bool = False,
) -> Iterator[Callable[..., None]]:
    """Shows how much of the work in the block is done, how fast it goes, and how long it takes.

    Args:
      title: Name of the work, such as "checking pictures"; may be empty.
      total: Amount of the whole work.
      done: Amount that was done before.
      unit: What is counted, such as "images".
      console: Console to write to; by default standard error.
      lines: Whether to print lines where the console is no terminal.
      quiet_seconds: Time before the first line.
      compiles: Whether the first step compiles, so that the rate should leave it out.

    Yields:
      `advance(amount=1)`, to be called after each step.
    """
    console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    prefix, of = f"{title}: " if title else "", f"of {total:,} {unit}".rstrip()
    throttle, rate, shown = Throttle(first=quiet_seconds), Rate(), False
    if not compiles:
        rate.record(done)

    with bar(console) as progress:
        task = progress.add_task(f"{prefix}{done:,} {of}", total=total, completed=done)

        def advance(amount: int = 1) -> None:
            nonlocal done, shown
            done += amount
            rate.record(done)
            text, speed = f"{prefix}{done:,} {of}", rate.per_second()
            if speed is not None:
                text += f"  {speed:.3g} {unit}/s  ETA {rate.left(total)}".replace(" /s", "/s")
            progress.update(task, completed=done, description=text)
            if lines and not console.is_terminal and (throttle.due() or (shown and done == total)):
                shown = True
                console.print(text)

        yield advance


def track(
    items: Iterable[tuple[int, T]],
    title: str,
    total: int,
    done: int = 0,
    *,
    unit: str = "",
    console: Console | None = None,
    lines: bool = True,
) -> Iterator[T]:
    """Yields the items of an iterable and shows its progress.

    Args:
      items: Pairs of an amount of work and the item that it produced.
      title: As for `counting`, like all further arguments.
      total: Amount of the whole work.
      done: Amount that was done before.
      unit: What is counted.
      console: Console to write to; by default standard error.
      lines: Whether to print lines where the console is no terminal.
    """
    with counting(title, total, done, unit=unit, console=console, lines=lines) as advance:
        for amount, item in items:
            advance(amount)
            yield item


def wait_for(name: str, work: Callable[[Callable[[str], None]], T]) -> T:
    """Runs `work` in a thread and shows on standard error its current phase and the time it has taken.

    It serves work that neither reports how far it is nor reacts to Ctrl-C, such as compiling. Ctrl-C ends the
    process at once, with the exit code that shells expect.

    Args:
      name: Start of every line.
      work: Function of a function that takes the name of each phase as it begins.

    Returns:
      The result of `work`. An exception that `work` raises is raised here.
    """
    outcome: dict[str, T] = {}
    failure: list[BaseException] = []
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with bar(console, SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as progress:
        task = progress.add_task(name, total=None)

        def begin(phase: str) -> None:
            if console.is_terminal:
                progress.update(task, description=f"{name}: {phase}")
            else:
                console.print(f"{name}: {phase}")

        def run() -> None:
            try:
                outcome["result"] = work(begin)
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=run, daemon=True)
        try:
            thread.start()
            thread.join()
        except KeyboardInterrupt:
            progress.stop()
            sys.stdout.flush()
            os._exit(EXIT_INTERRUPTED)  # an ordinary exit would wait for the compiler
    if failure:
        raise failure[0]
    return outcome["result"]
