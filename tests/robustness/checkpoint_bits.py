"""A bit flips in a checkpoint, in each of its files many times: a run notices it, or it changes nothing.

  python tests/robustness/checkpoint_bits.py
  python tests/robustness/checkpoint_bits.py --flips=5

"Survived" is a trial that changed nothing of what was read; "refused" one that the run warned of and answered
by going back to the checkpoint before, or by ranking this one no more.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tally import Tally
from tiny_workdirs import make_run_config, write_run

from biggan_jax.training.run.checkpoints import Checkpoints, Restored
from biggan_jax.training.run.digests import layout
from biggan_jax.training.step.state import abstract_state

FLIPS = 100  # of each file
SCORES = {3: {"fid": 5.0}, 6: {"fid": 2.0}}
OLDER, NEWER = SCORES
CONFIG = make_run_config(**{"checkpoints.best": 1, "checkpoints.metric": "fid"})
STATE = abstract_state(CONFIG)


class Read(NamedTuple):
    """What a run reads.

    Attributes:
      restored: Newest readable checkpoint.
      best: Step of the best one.
    """

    restored: Restored
    best: int | None


class Warnings(logging.Handler):
    """Collects the warnings of a trial."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Adds a warning."""
        self.texts.append(record.getMessage())


def read(workdir: Path) -> Read:
    """Reads the newest checkpoint and the step of the best, as resuming and `--best` do."""
    checkpoints = Checkpoints(workdir / "checkpoints", CONFIG, read_only=True)
    try:
        restored = checkpoints.restore_latest(STATE)
        assert restored is not None
        return Read(restored, checkpoints.best)
    finally:
        checkpoints.close()


def verdict(found: Read, saved: dict[int, Read], warnings: list[str]) -> str:
    """Returns "survived", "refused", or what is wrong."""
    restored, step = found.restored, found.restored.step
    if step not in saved or not same(restored, saved[step].restored):
        return f"another content came back for step {step}"
    if (step, found.best) == (NEWER, NEWER):
        return "survived"
    return "refused" if any(f"{NEWER:08d}" in text for text in warnings) else "it went back without a word"


def same(left: Restored, right: Restored) -> bool:
    """Returns whether two checkpoints have the same content, bit for bit."""
    import jax

    return (
        layout(left.state) == layout(right.state)
        and all(map(np.array_equal, jax.tree.leaves(left.state), jax.tree.leaves(right.state)))
        and (left.config, left.loop) == (right.config, right.loop)
    )


def flip(path: Path, rng: np.random.Generator) -> bytes:
    """Flips one bit of a file, and returns the content before."""
    content = path.read_bytes()
    place, bit = rng.integers(len(content)), rng.integers(8)
    damaged = bytearray(content)
    damaged[place] ^= 1 << int(bit)
    path.write_bytes(damaged)
    return content


def main(flips: int = FLIPS) -> Tally:
    """Flips bits of the newer of two checkpoints."""
    tally = Tally("a flipped bit in each file of a checkpoint")
    warnings, rng = Warnings(), np.random.default_rng(0)
    logging.getLogger("absl").addHandler(warnings)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        write_run(workdir, CONFIG, SCORES)
        saved: dict[int, Any] = {NEWER: read(workdir)}
        newer = workdir / "checkpoints" / f"{NEWER:08d}"
        newer.rename(Path(folder) / newer.name)
        saved[OLDER] = read(workdir)
        (Path(folder) / newer.name).rename(newer)
        for path in sorted(path for path in newer.rglob("*") if path.is_file()):
            for number in range(flips):
                content = flip(path, rng)
                warnings.texts.clear()
                try:
                    outcome = verdict(read(workdir), saved, warnings.texts)
                except Exception as error:
                    outcome = f"{type(error).__name__}: {error}"
                path.write_bytes(content)
                if outcome == "survived":
                    tally.survived()
                elif outcome == "refused":
                    tally.refused()
                else:
                    tally.failed(f"{path.relative_to(newer)}, flip {number}: {outcome}")
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flips", type=int, default=FLIPS, help="number of flips of each file")
    sys.exit(main(parser.parse_args().flips).report())
