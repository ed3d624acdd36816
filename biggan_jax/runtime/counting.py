"""How many images are drawn, how fast, and how long it will take: a bar on a terminal, lines in a log."""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 30.0


@contextlib.contextmanager
def counting(console: Console, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields what is to be called with each number of images that have been drawn.

    Args:
      console: where to.
      total: images in the end.
      done: those that there were before.
    """
    drawn, before, start, next_line = done, done, 0.0, 0.0
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), console=console, disable=not console.is_terminal
    )
    task = bar.add_task(f"{done:,} of {total:,} images", total=total, completed=done)

    def advance(count: int) -> None:
        nonlocal drawn, before, start, next_line
        drawn, now = drawn + count, time.monotonic()
        text = f"{drawn:,} of {total:,} images"
        if start:
            rate = (drawn - before) / (now - start)
            left = datetime.timedelta(seconds=round((total - drawn) / rate))
            text += f"  {rate:.3g} images/s  ETA {left}"
        else:
            start, before = now, drawn  # the first were all compiling
        bar.update(task, completed=drawn, description=text)
        if not console.is_terminal and (now >= next_line or drawn == total):
            next_line = now + SECONDS_BETWEEN_LINES
            console.print(text)

    with bar:
        yield advance
