"""What takes long: a progress bar with the time left, in a log plain lines now and then; and who does it.

Of several processes that need the same files, one makes them and the others wait.
"""

import datetime
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BEFORE_LINES = 10.0  # what takes less needs no words in a log
SECONDS_BETWEEN_LINES = 30.0

T = TypeVar("T")


def track(items: Iterable[tuple[int, T]], doing: str, total: int, done: int = 0) -> Iterator[T]:
    """Passes on what comes, and shows how far it has got, on standard error.

    Args:
      items: pairs of the amount that is done with an item, and the item.
      doing: what the work is, such as "checking pictures".
      total: amount in all.
      done: amount that was done before.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(doing, total=total, completed=done)
            for amount, item in items:
                bar.advance(task, amount)
                yield item
        return

    start, before = time.monotonic(), done
    next_line = start + SECONDS_BEFORE_LINES
    for amount, item in items:
        done += amount
        now = time.monotonic()
        if now >= next_line:
            next_line = now + SECONDS_BETWEEN_LINES
            left = datetime.timedelta(seconds=round((total - done) * (now - start) / max(1, done - before)))
            console.print(f"{doing}: {done:,} of {total:,}, {left} left")
        yield item
