"""Counts what a robustness script tried: trials that survived, were refused, or failed.

A script is one topic, `tests/robustness/TOPIC.py`. It calls one method of `Tally` per trial, and ends in

    def main() -> Tally:
        tally = Tally("a flipped bit in a checkpoint")
        for trial in trials:
            tally.check(noticed(trial), f"{trial}: nobody noticed")
        return tally

    if __name__ == "__main__":
        sys.exit(main().report())

`make test-robust` runs all scripts and prints one table.
"""

import subprocess
import time
from dataclasses import dataclass, field

HEADER = "| topic | tried | survived | refused | failed | seconds |\n|---|---:|---:|---:|---:|---:|"


@dataclass
class Tally:
    """Counts of one topic.

    Attributes:
      topic: What is tried, in words; the first column of the table.
      num_survived: Number of trials with the right result.
      num_refused: Number of trials that ended in one line that says what is wrong.
      failures: What went wrong, for each trial that failed.
    """

    topic: str
    num_survived: int = 0
    num_refused: int = 0
    failures: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def num_tried(self) -> int:
        return self.num_survived + self.num_refused + len(self.failures)

    def survived(self) -> None:
        """Counts a trial with the right result."""
        self.num_survived += 1

    def refused(self) -> None:
        """Counts a trial that ended in one line that says what is wrong."""
        self.num_refused += 1

    def failed(self, what: str) -> None:
        """Counts a trial that went wrong, and prints at once what did."""
        self.failures.append(what)
        print(f"FAILED {self.topic}: {what}", flush=True)

    def check(self, right: bool, what: str) -> None:
        """Counts a trial that has survived if `right`, and else failed with `what`."""
        if right:
            self.survived()
        else:
            self.failed(what)

    def command(self, trial: str, done: subprocess.CompletedProcess[str]) -> None:
        """Counts a command of the package that ended: 0 is right, and 2 with one `error: …` is a refusal.

        Args:
          trial: The trial in words.
          done: The process, with its standard error as text.
        """
        lines = done.stderr.strip().splitlines()
        if done.returncode == 0:
            self.survived()
        elif done.returncode == 2 and "Traceback" not in done.stderr and any(map(_is_error, lines)):
            self.refused()
        else:
            self.failed(f"{trial}: exit code {done.returncode}: {lines[-1] if lines else 'no message'}")

    def row(self) -> str:
        """Returns the topic's row of the table."""
        numbers = (self.num_tried, self.num_survived, self.num_refused, len(self.failures))
        columns = [self.topic, *(f"{n:,}" for n in numbers), f"{time.monotonic() - self.started:.0f}"]
        return f"| {' | '.join(columns)} |"

    def report(self) -> int:
        """Prints the row; returns the exit code of the script: 0 if trials were made and none failed."""
        print(self.row(), flush=True)
        return 0 if self.num_tried and not self.failures else 1


def _is_error(line: str) -> bool:
    return line.startswith("error: ")
