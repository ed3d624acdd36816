"""Fuzzes every reader of a file: files are flipped, cut, swapped, grown and filled with other JSON values.

  python tests/robustness/fuzz_readers.py
  python tests/robustness/fuzz_readers.py --seconds=600 --reader=pth --reader=export

Allowed are the right value and a user error, within 10 s and 4 GB. Each reader runs in a process of its own
for a minute. Edits that fail are made as small as Hypothesis can, and kept in `corpus/READER.jsonl`, one
trial a line: the file's number and its edits. The tests repeat the corpus (test_fuzz_readers.py).
"""

import argparse
import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from edits import apply, edits
from hypothesis import strategies as st
from readers import READERS
from tally import Tally

from biggan_jax.data.decode import UnusablePicture
from biggan_jax.runtime.errors import UserError

CORPUS = Path(__file__).with_name("corpus")
SECONDS = 60  # for each reader
LIMIT_SECONDS, LIMIT_BYTES = 10, 4 * 2**30
BATCH = 50  # trials between looks at the clock


class TooSlow(BaseException):
    """A reader that has taken `LIMIT_SECONDS`; no `except Exception` of the reader stops it."""


class Trials:
    """The trials of one reader on its files in a folder.

    Args:
      name: Name of the reader.
      folder: Folder for its files.

    Attributes:
      survived: Number of trials that gave a value.
      refused: Number of trials that ended in a user error.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.reader, self._folder = name, READERS[name], folder
        self.paths = self.reader.write(folder)
        self._contents = [path.read_bytes() for path in self.paths]
        self._right = _comparable(self.reader.read(folder))
        self.survived = self.refused = 0

    def run(self, file: int, damage: list[Any]) -> None:
        """Damages one file and reads; raises what is not allowed."""
        path, content = self.paths[file % len(self.paths)], self._contents[file % len(self.paths)]
        path.write_bytes(apply(content, damage))
        try:
            with _limited():
                value = self.reader.read(self._folder)
        except (UserError, UnusablePicture) as error:
            assert str(error), "an error without a message"
            self.refused += 1
            return
        finally:
            path.write_bytes(content)
        if self.reader.verified:
            assert _comparable(value) == self._right, "another value came back without a word"
        self.survived += 1


def corpus(name: str) -> list[tuple[int, list[Any]]]:
    """Returns the kept trials of a reader: the number of the file, and its edits."""
    path = CORPUS / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(trial["file"], trial["edits"]) for trial in map(json.loads, lines)]


def keep(name: str, file: int, damage: list[Any]) -> None:
    """Adds a trial to the corpus, unless it is there."""
    if (file, json.loads(json.dumps(damage))) not in corpus(name):
        CORPUS.mkdir(exist_ok=True)
        with (CORPUS / f"{name}.jsonl").open("a") as lines:
            lines.write(json.dumps({"file": file, "edits": damage}) + "\n")


def fuzz(trials: Trials, seconds: float) -> list[str]:
    """Makes trials for some seconds; returns what went wrong."""
    failures: list[str] = []
    for file, damage in corpus(trials.name):
        try:
            trials.run(file, damage)
        except BaseException as error:
            failures.append(f"{trials.name}: {type(error).__name__}: {error} (in the corpus)")
    end, smallest = time.monotonic() + seconds, (0, [])

    @hypothesis.settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.given(st.integers(0, 100), edits(trials.reader.kind))
    def trial(file: int, damage: list[Any]) -> None:
        nonlocal smallest
        try:
            trials.run(file, damage)
        except BaseException:
            smallest = (file % len(trials.paths), damage)  # the last that fails is the smallest
            raise

    while time.monotonic() < end and len(failures) < 5:
        try:
            trial()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            keep(trials.name, *smallest)
            failures.append(f"{trials.name}: {type(error).__name__}: {error}: {smallest}")
    return failures


def _comparable(value: Any) -> Any:
    """Returns a value as text and bytes, which `==` compares."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {str(key): _comparable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(item) for item in value]
    return value


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow(f"no end after {LIMIT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _run_one(name: str, seconds: float) -> None:
    """Fuzzes one reader in this process, and prints its counts as JSON."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(name, Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES,) * 2)
        failures = fuzz(trials, seconds)
    print(json.dumps({"survived": trials.survived, "refused": trials.refused, "failures": failures}))


def main(seconds: float = SECONDS, names: list[str] | None = None) -> Tally:
    """Fuzzes readers one after another, each in a process of its own."""
    tally = Tally("damaged files, for every reader")
    for name in names or READERS:
        command = [sys.executable, __file__, f"--seconds={seconds}", f"--alone={name}"]
        done = subprocess.run(command, capture_output=True, text=True)
        try:
            counts = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            tally.failed(f"{name}: its process ended with {done.returncode}: {last}")
            continue
        print(f"  {name:<12} {counts['survived']:>8,} survived {counts['refused']:>8,} refused", flush=True)
        tally.num_survived += counts["survived"]
        tally.num_refused += counts["refused"]
        for failure in counts["failures"]:
            tally.failed(failure)
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each reader")
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="may be repeated")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        _run_one(options.alone, options.seconds)
        sys.exit(0)
    sys.exit(main(options.seconds, options.reader).report())
