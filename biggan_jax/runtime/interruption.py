"""Ctrl-C and SIGTERM as a request to stop, which the loop obeys between two steps, when it can save.

SIGTERM announces a preemption: from Kubernetes, from SLURM, and from the shutdown of a cloud machine. A run
stops when one of its processes receives it (training/run/loop.py).
"""

import signal
import sys
from types import FrameType
from typing import Any

from biggan_jax.runtime.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE


class Interruption:
    """Context that records SIGINT and SIGTERM while `stepping`; before that they end the process at once.

    The first signal asks the loop to stop. Ctrl-C after it raises `KeyboardInterrupt`, even during saving.
    Python delivers signals to the main thread only; in other threads the context does nothing.

    Attributes:
      signal: Number of the first signal received, which the loop reads; 0 before.
      stepping: Whether the loop is running, so that a signal must not end the process. The loop sets it.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.stepping = False
        self._previous: dict[int, Any] = {}

    @staticmethod
    def exit_code(number: int) -> int:
        """Returns the exit code of a process that the signal `number` has ended."""
        return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESUMABLE

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: JAX had set it, not Python

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number
        if not self.stepping:
            print("stopped before the first step; nothing to save", file=sys.stderr)
            sys.exit(self.exit_code(number))
        print("\nstopping after this step, then saving (Ctrl-C again: without saving)", file=sys.stderr)
