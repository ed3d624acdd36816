"""Ctrl-C and SIGTERM as a wish that the loop grants between two steps, when the state can be saved.

SIGTERM is how a preemption is announced: by Kubernetes, by SLURM, and on a cloud's machine that is taken back
by its shutdown. One process of a run that hears it is enough (loop.py).
"""

import signal
import sys
from types import FrameType

from biggan_jax.runtime.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE


class Interruption:
    """A context in which SIGINT and SIGTERM are noted; outside of `stepping` they end the process at once.

    The first signal asks the loop to stop; Ctrl-C after it raises `KeyboardInterrupt`, saving or not. Only
    the main thread hears of signals: elsewhere the context does nothing.
    """

    def __init__(self) -> None:
        self.signal = 0  # the first that came, which the loop looks at while `stepping`
        self.stepping = False
        self._previous: dict[int, object] = {}

    @staticmethod
    def exit_code(number: int) -> int:
        """That of a process which a signal has ended."""
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
            signal.signal(number, handler or signal.SIG_DFL)  # None: it was not Python's, but JAX's

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number
        if not self.stepping:
            print("stopped before the first step; nothing to save", file=sys.stderr)
            sys.exit(self.exit_code(number))
        print("\nstopping after this step, then saving (Ctrl-C again: without saving)", file=sys.stderr)
