"""What the exit code of a training process means, and how often a run is started again.

The one policy of launch/local.py and launch/tpu_pod.py.
"""

import time
from collections.abc import Collection

from biggan_jax.runtime.errors import EXIT_ERROR

# A mistake that another start would only repeat: the command's own verdict, and the shell's two for a
# command that cannot be run.
MISTAKES = {EXIT_ERROR, 126, 127}
SECONDS_OF_A_GOOD_RUN = 600  # after which failures are counted anew


class Restarts:
    """Counts starts that failed in a row; the first is made with the object."""

    def __init__(self, limit: int):
        self.limit = limit
        self.failures = 0
        self._started = time.monotonic()

    def another(self, codes: Collection[int | str]) -> bool:
        """Whether to start once more after the processes ended with `codes`; says so, or that it gives up."""
        good = time.monotonic() - self._started > SECONDS_OF_A_GOOD_RUN
        self.failures = 1 if good else self.failures + 1
        self._started = time.monotonic()
        if self.failures > self.limit:
            print(f"error: exit codes {codes}, after {self.limit} restarts; giving up", flush=True)
            return False
        print(f"exit codes {codes}: starting again ({self.failures} of {self.limit})", flush=True)
        return True
