"""Exit codes of training processes, and the one policy of all launchers for restarts after failures."""

import time
from collections.abc import Collection

from biggan_jax.runtime.errors import EXIT_ERROR

# Another start would only repeat a user error, and the shell's two codes for a command that cannot run.
MISTAKES = {EXIT_ERROR, 126, 127}
KILLED = {-9, 137}  # by SIGKILL, which the system sends too when memory runs out
SECONDS_OF_A_GOOD_RUN = 600  # a process that ran longer starts a new count of failures


class Restarts:
    """Counts the failures in a row of a command that has just been started.

    Attributes:
      limit: Largest number of restarts in a row.
      failures: Failures in a row so far.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.failures = 0
        self._started = time.monotonic()

    def another(self, codes: Collection[int | str]) -> bool:
        """Counts a failure and prints whether the command is started again.

        Args:
          codes: Exit codes of the processes, or what is known instead.

        Returns:
          Whether to start the command again.
        """
        good = time.monotonic() - self._started > SECONDS_OF_A_GOOD_RUN
        self.failures = 1 if good else self.failures + 1
        self._started = time.monotonic()
        if self.failures > self.limit:
            print(f"error: exit codes {codes}, after {self.limit} restarts; giving up", flush=True)
            return False
        if KILLED.intersection(codes):
            print("a process was killed: this machine may be out of memory", flush=True)
        print(f"exit codes {codes}: starting again ({self.failures} of {self.limit})", flush=True)
        return True
