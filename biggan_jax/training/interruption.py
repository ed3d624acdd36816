"""Ctrl-C and SIGTERM as a wish that the loop grants between two steps, when the state can be saved."""

import signal
import sys
from types import FrameType

EXIT_RESUMABLE = 75  # sysexits.h's EX_TEMPFAIL: launchers read it as "start me again"
EXIT_INTERRUPTED = 128 + signal.SIGINT  # 130, what shells expect after Ctrl-C


class Interruption:
    """A context in which SIGINT and SIGTERM are noted; outside of `stepping` they end the process at once.

    The first signal asks the loop to stop; Ctrl-C after it raises `KeyboardInterrupt`, saving or not. Only
    the main thread hears of signals: elsewhere the context does nothing.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, object] = {}
        self.stepping = False  # whether the loop looks at `requested`

    @property
    def requested(self) -> bool:
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        return EXIT_INTERRUPTED if self._signal == signal.SIGINT else EXIT_RESUMABLE

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = self._signal or number
        if not self.stepping:
            print("stopped before the first step; nothing to save", file=sys.stderr)
            sys.exit(self.exit_code)
        print("\nstopping after this step, then saving (Ctrl-C again: without saving)", file=sys.stderr)
