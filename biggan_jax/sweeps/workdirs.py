"""The directories of a sweep's runs: their steps, their evaluations, their logs and whose runs they are."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from biggan_jax.config import config_to_json, differences
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import is_object_store, write_file
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.sweeps.sweep_file import Run
from biggan_jax.training.run.committed import is_committed

COMMAND = b"---- "  # starts the line of a command in a run's log; the command's output follows
# Their names hold the hash of the images that they were made from, so all runs on these images can use them.
SHARED_FILES = ("classifier-*.safetensors", "reference-*.npz")


def last_step(directory: epath.Path) -> int:
    """Returns the step of the newest checkpoint in a run's directory, or 0 without a checkpoint."""
    folder = directory / "checkpoints"
    if not folder.is_dir():
        return 0
    committed = (path for path in folder.iterdir() if path.name.isdigit() and is_committed(path))
    return max((int(path.name) for path in committed), default=0)


def is_finished(run: Run, directory: epath.Path) -> bool:
    """Returns whether the run in `directory` has a checkpoint of its last step."""
    return last_step(directory) >= run.config.total_steps


def evaluation(directory: epath.Path) -> Mapping[str, Any] | None:
    """Returns the report of biggan_jax.evaluate on the newest checkpoint, or None without one."""
    report = read_json(directory / "evaluation.json")
    return report if report and report.get("step") == last_step(directory) else None


def find_directories(runs: Sequence[Run], workdir: epath.Path) -> list[epath.Path]:
    """Returns the directory of each run, whether it exists or not.

    A run is named after the fields in which the runs of its sweep differ. A sweep that has gained a field so
    renames its runs; a run whose own directory does not exist yet therefore keeps the one that holds its
    config.

    Args:
      runs: Runs of the sweep.
      workdir: Directory of the sweep.

    Returns:
      One directory for each run, in order.
    """
    own = [workdir / run.name for run in runs]
    missing = [directory for directory in own if not directory.exists()]
    if not missing or not workdir.is_dir():
        return own
    names = {directory.name for directory in own}
    others = {path: read_json(path / "config.json") for path in workdir.iterdir() if path.name not in names}
    directories = []
    for run, directory in zip(runs, own, strict=True):
        if directory in missing:
            same = (path for path, saved in others.items() if saved and not _changes(run, saved))
            directory = next(same, directory)
            others.pop(directory, None)
        directories.append(directory)
    return directories


def refuse_other_runs(runs: Sequence[Run], workdir: epath.Path) -> None:
    """Raises `UserError` if a run's directory holds a run of another config.

    A lower `total_steps` in the directory is no difference: the run continues.

    Args:
      runs: Runs of the sweep.
      workdir: Directory of the sweep.

    Raises:
      UserError: A directory belongs to another run; the message lists the fields that differ.
    """
    problems = []
    for run, directory in zip(runs, find_directories(runs, workdir), strict=True):
        changes = _changes(run, read_json(directory / "config.json") or {})
        problems += [f"{run.name}: {field} {values}" for field, values in changes.items()]
    if problems:
        listed = "\n  ".join(problems)
        raise UserError(
            f"{workdir} holds runs of another sweep, or of this one before it was changed; give another "
            f"--workdir, or remove these directories to start their runs again:\n  {listed}"
        )


def _changes(run: Run, saved: Mapping[str, Any]) -> dict[str, str]:
    """Returns the fields in which a run differs from a saved config, unless only its end has moved."""
    changes = differences(saved, config_to_json(run.config))
    if run.config.total_steps > saved.get("total_steps", 0):
        changes.pop("total_steps", None)
    return changes


def share_classifiers(directory: epath.Path, others: Iterable[epath.Path]) -> None:
    """Copies other runs' trained classifiers and reference features, so that a run need not make them again.

    Args:
      directory: Directory of the run that receives the files.
      others: Directories of the other runs.
    """
    own = directory / "evaluation"
    for other in others:
        folder = other / "evaluation"
        for path in (path for pattern in SHARED_FILES if folder.is_dir() for path in folder.glob(pattern)):
            if not (own / path.name).exists():
                write_file(own / path.name, path.read_bytes())


def log_path(directory: epath.Path) -> Path:
    """Returns the path of a run's log: in its directory, or in the cache for a directory in a bucket."""
    if not is_object_store(directory):
        return Path(directory) / "log.txt"
    return cache_folder("sweeps", re.sub(r"^\w+://", "", os.fspath(directory)), "log.txt")


def last_message(directory: epath.Path) -> str:
    """Returns the error of the last command in a run's log, or its last line; empty without a log."""
    log = log_path(directory)
    output = re.split(b"^" + COMMAND, log.read_bytes(), flags=re.MULTILINE)[-1] if log.exists() else b""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()[1:] if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1]


def read_json(path: epath.Path) -> Mapping[str, Any] | None:
    """Returns the object in a JSON file, or None if it does not exist, cannot be read or is none."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
