"""What a run's directory tells without being trained in: how far it is, whose it is, what it has to lend."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from biggan_jax.config import config_to_json, differences
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import is_object_store, write_whole
from biggan_jax.sweeps.reading import Run

COMMAND = b"---- "  # before each command in a run's log, with the time; the command's output follows
# Kept by the hash of the images they were made of: what one run has, all runs on these images can take.
LENT = ("classifier-*.safetensors", "reference-*.npz")


def last_step(directory: epath.Path) -> int:
    """That of the newest checkpoint; 0 if there is none."""
    folder = directory / "checkpoints"
    if not folder.is_dir():
        return 0
    committed = (path for path in folder.iterdir() if path.name.isdigit() and _is_committed(path))
    return max((int(path.name) for path in committed), default=0)


def is_finished(run: Run, directory: epath.Path) -> bool:
    """Whether the run has come to its last step."""
    return last_step(directory) >= run.config.total_steps


def evaluation(directory: epath.Path) -> dict[str, Any] | None:
    """What biggan_jax.evaluate wrote of the newest checkpoint; None if it has not judged that one."""
    report = read_json(directory / "evaluation.json")
    return report if report and report.get("step") == last_step(directory) else None


def refuse_other_runs(runs: Sequence[Run], workdir: epath.Path) -> None:
    """Raises UserError if a run's directory was begun with another config, but for a lower total_steps."""
    problems = []
    for run in runs:
        saved = read_json(workdir / run.name / "config.json") or {}
        changed = differences(saved, config_to_json(run.config))
        if run.config.total_steps > saved.get("total_steps", 0):
            changed.pop("total_steps", None)
        problems += [f"{run.name}: {field} {values}" for field, values in changed.items()]
    if problems:
        listed = "\n  ".join(problems)
        raise UserError(
            f"{workdir} holds runs of another sweep, or of this one before it was changed; give another "
            f"--workdir, or remove these directories to begin them anew:\n  {listed}"
        )


def lend(directory: epath.Path, others: Iterable[epath.Path]) -> None:
    """Gives a run the classifiers that others have trained, so that it need not train the same again."""
    own = directory / "evaluation"
    for other in others:
        folder = other / "evaluation"
        for path in (path for pattern in LENT if folder.is_dir() for path in folder.glob(pattern)):
            if not (own / path.name).exists():
                write_whole(own / path.name, path.read_bytes())


def log_path(directory: epath.Path) -> Path:
    """Where the output of a run's commands is kept: in its directory, or for one in a bucket in the cache."""
    if not is_object_store(directory):
        return Path(directory) / "log.txt"
    cache = Path(os.environ.get("BIGGAN_CACHE") or Path.home() / ".cache" / "biggan_jax")
    return cache / "sweeps" / re.sub(r"^\w+://", "", os.fspath(directory)) / "log.txt"


def last_words(directory: epath.Path) -> str:
    """What the last command in a run's log ended with: its error, or else its last line; "" without a log."""
    log = log_path(directory)
    said = re.split(b"^" + COMMAND, log.read_bytes(), flags=re.MULTILINE)[-1] if log.exists() else b""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()[1:] if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1]


def read_json(path: epath.Path) -> Mapping[str, Any] | None:
    """What the file holds; None if there is none, or it can't be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _is_committed(checkpoint: epath.Path) -> bool:
    # Locally a checkpoint gets its name when it is whole; in a bucket its last object says so.
    return not is_object_store(checkpoint) or (checkpoint / "commit_success.txt").exists()
