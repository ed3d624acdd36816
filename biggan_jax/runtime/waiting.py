"""Waiting for the compiler, which takes minutes, tells nothing of how far it is, and does not hear Ctrl-C."""

import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from biggan_jax.runtime.errors import EXIT_INTERRUPTED

T = TypeVar("T")


def wait_for(name: str, work: Callable[[Callable[[str], None]], T]) -> T:
    """Does `work` in a thread, and shows on standard error what it does and for how long it has.

    Ctrl-C ends the process at once, with the exit code that shells expect.

    Args:
      name: opens every line.
      work: is given a function that takes what is being done.

    Returns:
      What `work` does, or raises what it does.
    """
    outcome: dict[str, T] = {}
    failure: list[BaseException] = []
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)

        def tell(doing: str) -> None:
            if console.is_terminal:
                progress.update(task, description=f"{name}: {doing}")
            else:
                console.print(f"{name}: {doing}")

        def run() -> None:
            try:
                outcome["result"] = work(tell)
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
