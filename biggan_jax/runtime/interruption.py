"""Ctrl-C, SIGTERM and SIGHUP: as a request to stop between two steps, or as the end of the process.

SIGTERM announces a preemption: from Kubernetes, from SLURM, and from the shutdown of a cloud machine. SIGHUP
says that the terminal or the connection is gone. A run stops when one of its processes receives either
(training/run/loop.py).

Python runs handlers of signals in its main thread, between two of its instructions. A main thread in XLA's
compiler may be minutes away from the next. A thread therefore hears of each signal too, and ends the process
that has not ended by itself `SECONDS_TO_END` later, unless that has something to save.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from biggan_jax.runtime.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS_TO_END = 5.0
_IMPORTING = "<frozen importlib._bootstrap>"


class Interruption:
    """Context that records signals while `stepping`; otherwise they end the process at once.

    The first signal asks the loop to stop. Ctrl-C after it raises `KeyboardInterrupt`, even during saving.
    Python delivers signals to the main thread only; in other threads the context does nothing.

    Attributes:
      signal: Number of the first signal received, which the loop reads; 0 before.
      stepping: Whether the state on the devices is nowhere else, so that a signal must not end the process.
        The loop sets it.
      saved: Line that a signal prints which ends the process. The loop sets it.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.stepping = False
        self.saved = "stopped before the first step; nothing to save"
        self._previous: dict[int, Any] = {}

    @staticmethod
    def exit_code(number: int) -> int:
        """Returns the exit code of a process that the signal `number` has ended."""
        return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESUMABLE

    def __enter__(self) -> "Interruption":
        for number in STOPPING:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread
                return self
        _watch.ends = self._ends
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: JAX had set it, not Python
        if self._previous:
            _watch.ends = _ends_by_ctrl_c

    @contextlib.contextmanager
    def may_end(self, saved: str) -> Iterator[None]:
        """Lets a signal end the process during the block, or before it, because all of its state is saved.

        Args:
          saved: Line that the signal then prints.
        """
        before = self.stepping, self.saved
        self.stepping, self.saved = False, saved
        if self.signal:
            self._end(self.signal)
        yield
        self.stepping, self.saved = before

    def _ends(self, number: int) -> int | None:
        return None if self.stepping or number not in self._previous else self.exit_code(number)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number
        if not self.stepping:
            self._end(number)
        print("\nstopping after this step, then saving (Ctrl-C again: without saving)", file=sys.stderr)

    def _end(self, number: int) -> NoReturn:
        print(self.saved, file=sys.stderr)
        sys.exit(self.exit_code(number))


def end_quietly() -> None:
    """Makes Ctrl-C end the process without a traceback, also while modules are imported; call it early.

    Ctrl-C raises `KeyboardInterrupt` as usual, but ends the process at once before the command begins and
    during imports: there, nothing catches the exception, or libraries turn it into others. A process that
    ignores Ctrl-C, as in a shell's background, still does.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
        _watch.start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    began = False
    while frame:
        if frame.f_code.co_filename == _IMPORTING:
            _leave(EXIT_INTERRUPTED)
        began = began or frame.f_globals.get("__name__") == "__main__"
        frame = frame.f_back
    if not began:  # Python is still looking for the module of the command
        _leave(EXIT_INTERRUPTED)
    raise KeyboardInterrupt


def _ends_by_ctrl_c(number: int) -> int | None:
    ends = number == signal.SIGINT and signal.getsignal(number) is _interrupt  # launchers have their own
    return EXIT_INTERRUPTED if ends else None


def _leave(code: int) -> None:
    """Ends the process at once, without waiting for threads or other processes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, or in the middle of a write
            continue
    os._exit(code)


class _Watch:
    """The thread that hears of signals.

    Attributes:
      ends: Function of a signal's number to the exit code with which that signal ends the process; None if
        the process has to go on.
    """

    def __init__(self) -> None:
        self.ends = _ends_by_ctrl_c
        self._end: int | None = None

    def start(self) -> None:
        """Starts the thread, once a process."""
        if self._end is not None:
            return
        heard, self._end = os.pipe()
        os.set_blocking(self._end, False)
        signal.set_wakeup_fd(self._end, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(heard,), name="signals", daemon=True).start()

    def _listen(self, heard: int) -> None:
        while content := os.read(heard, 1):
            code = self.ends(content[0])
            if code is not None:
                timer = threading.Timer(SECONDS_TO_END, _leave, (code,))
                timer.daemon = True
                timer.start()


_watch = _Watch()
