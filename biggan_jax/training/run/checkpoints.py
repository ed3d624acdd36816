"""Checkpoints: the training state and its config, written by orbax in the background.

Each step has a directory, `00001000/`, with four items: `state` (the pytree), `config` (JSON: its fields and
their hash), `loop` (JSON: what the loop carries between steps besides the state) and `digests` (JSON: SHA-256
of each array and of the rest, checked on reading). A directory gets its name by a rename when it is complete.
Arrays are saved as plain host arrays, without a trace of the number of devices or processes. Only the first
process of a run opens the checkpoints.
"""

import copy
import math
import os
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from biggan_jax.config import config_to_json
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import (
    is_object_store,
    is_storage_error,
    kvstore_spec,
    resolve_directory,
    writing,
)
from biggan_jax.runtime.json_digest import json_digest
from biggan_jax.training.run.committed import is_committed
from biggan_jax.training.run.compatibility import refuse_another_architecture
from biggan_jax.training.run.digests import (
    DamagedError,
    DigestsHandler,
    DigestsToSave,
    layout,
    read_digests,
    replace_scores,
)
from biggan_jax.training.run.retention import VerifiedManager, retention_options, surplus_steps


class Restored(NamedTuple):
    """The content of a checkpoint.

    Attributes:
      state: Tree of host arrays.
      step: Step of the checkpoint.
      config: Fields of the config that it was saved with.
      loop: JSON values that the loop saved.
    """

    state: Any
    step: int
    config: dict[str, Any]
    loop: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; `config.checkpoints` decides which of them are kept.

    Args:
      directory: Directory of the checkpoints; it is created if missing.
      config: Config of the run; it is saved with each checkpoint, with its hash.
      read_only: Whether to change nothing on disk. Use it for a run that may be in progress.

    Raises:
      UserError: The directory cannot be written.
    """

    def __init__(self, directory: str | os.PathLike, config: ConfigDict, read_only: bool = False):
        self._directory, self._read_only = resolve_directory(directory), read_only
        self._config, self._rules = config_to_json(config), config.checkpoints
        # Errors arrive as exceptions; orbax's threads also log tracebacks, which would bury our message.
        logging.get_absl_logger().addFilter(_not_from_orbax)
        with writing(self._directory):
            if not read_only:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._remove_remains()
            # Orbax must not wait for the other processes of a run: they never call it.
            first = ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}
            )
            json_handler = ocp.JsonCheckpointHandler(multiprocessing_options=first)
            self._manager = VerifiedManager(
                self._directory,
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(multiprocessing_options=first),
                    "config": json_handler,
                    "loop": json_handler,
                    "digests": DigestsHandler(multiprocessing_options=first),
                },
                options=ocp.CheckpointManagerOptions(
                    **retention_options(config.checkpoints),
                    step_format_fixed_length=8,
                    create=False,
                    read_only=read_only,
                    multiprocessing_options=first,
                ),
            )

    @property
    def steps(self) -> list[int]:
        """Returns the steps of the saved checkpoints in ascending order."""
        return sorted(self._manager.all_steps())

    @property
    def best(self) -> int | None:
        """Returns the step of the best checkpoint by `config.checkpoints.metric`; None if none has it."""
        step, metric = self._manager.best_step(), self._config["checkpoints"]["metric"]
        if step is None:
            return None
        value = (self._manager.metrics(step) or {}).get(metric)
        return None if value is None or math.isnan(value) else step

    def save(
        self, step: int, state: Any, loop: dict[str, Any], scores: Mapping[str, float | None] | None = None
    ) -> None:
        """Copies the state to the host, then writes it in the background.

        It first waits for the save before it, so at most one is in progress. It does nothing if the step has
        a checkpoint already.

        Args:
          step: Step of the state.
          state: Tree of arrays that this process holds in full.
          loop: JSON values to save beside the state.
          scores: Numbers of this step. `config.checkpoints.metric`, if among them, ranks the checkpoint.

        Raises:
          UserError: This save, or the one before it, could not be written.
        """
        self.refuse_without_room(state)
        host_state, scores = jax.device_get(state), dict(scores or {})
        loop = copy.deepcopy(loop)  # orbax writes it in the background, and the next step appends to its rows
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(host_state),
            config=ocp.args.JsonSave({"fields": self._config, "sha256": json_digest(self._config)}),
            loop=ocp.args.JsonSave(loop),
            digests=DigestsToSave(host_state, json_digest(loop), json_digest(scores)),
        )
        try:
            self._manager.save(step, args=items, metrics=scores)
        except Exception as error:
            raise self._write_error(error) from error

    def refuse_without_room(self, state: Any) -> None:
        """Raises `UserError` if the disk has no room for one more checkpoint.

        Orbax finds out in its threads, whose tracebacks bury the message.

        Args:
          state: Tree of arrays to save.
        """
        if is_object_store(self._directory):
            return
        needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._directory).free
        if needed > free:
            raise self._write_error(
                OSError(
                    f"no space left on device: it takes {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free"
                )
            )

    def rank(self, step: int, scores: Mapping[str, float | None]) -> None:
        """Gives a saved checkpoint the numbers that rank it.

        Args:
          step: Step of the checkpoint.
          scores: Numbers of this step; see `save`.

        Raises:
          UserError: They could not be written.
        """
        self.wait()
        replace_scores(self._path(step), dict(scores))
        self._manager.reload()
        with writing(self._directory):
            for surplus in surplus_steps(
                self._rules, {each: self._manager.metrics(each) for each in self.steps}
            ):
                self._manager.delete(surplus)

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          UserError: It could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._write_error(error) from error

    def close(self) -> None:
        """Releases orbax's threads after the save in progress; call `wait` first to get its errors."""
        self._manager.close()

    def restore_latest(self, state: Any) -> Restored | None:
        """Reads the newest readable checkpoint; returns None without checkpoints.

        It skips a damaged checkpoint with a warning. Once it has read an older one, it renames the damaged
        one to `unreadable-STEP`, to make room for a new checkpoint of the same step.

        Args:
          state: State of the present config, for the expected tree, shapes and types.

        Raises:
          UserError: The checkpoint is of another architecture or optimiser (the message lists the fields that
            differ), reading it is not permitted, or all checkpoints are damaged.
        """
        unreadable: list[int] = []
        for step in reversed(self.steps):
            try:
                restored = self.restore(step, state)
            except UserError:
                raise
            except Exception as error:  # a damaged file makes orbax or its libraries raise anything
                if isinstance(error, PermissionError) or "PERMISSION_DENIED" in str(error):
                    raise UserError(
                        f"not permitted to read the checkpoint {self._path(step)}; give yourself read "
                        "permission, or choose another --workdir"
                    ) from error
                if is_object_store(self._directory) and _out_of_reach(error):
                    raise UserError(
                        f"cannot read the checkpoint {self._path(step)}: {_first(error)}; check that the "
                        "bucket can be reached and read, then run the same command again"
                    ) from error
                logging.warning(
                    "skipping the checkpoint %s: unreadable (%s)", self._path(step), _first(error)
                )
                unreadable.append(step)
                continue
            if not self._read_only:
                self._set_aside(unreadable)
            return restored
        if unreadable:
            raise UserError(
                f"none of the checkpoints in {self._directory} can be read; restore a copy of one, or choose "
                "another --workdir to start from the beginning"
            )
        return None

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of the steps after `step`."""
        with writing(self._directory):
            for later in self.steps:
                if later > step:
                    self._manager.delete(later)

    def restore(self, step: int, state: Any) -> Restored:
        """Reads the checkpoint of one step.

        Args:
          step: Step of the checkpoint.
          state: State of the present config, for the expected tree, shapes and types.

        Raises:
          UserError: The checkpoint is of another architecture or optimiser.
          Exception: The checkpoint is damaged; orbax and its libraries raise many types.
        """
        path = self._path(step)
        items = ocp.args.Composite(config=ocp.args.JsonRestore(), loop=ocp.args.JsonRestore())
        saved: Any = self._manager.restore(step, args=items)
        fields = saved.config["fields"]
        if saved.config["sha256"] != json_digest(fields):
            raise DamagedError("its config has changed since it was saved: the hash differs")
        digests = read_digests(path)
        if digests:
            digests.check_loop(saved.loop)
        _read_through(path / "state")
        found = digests.layout if digests else layout(self._manager.item_metadata(step).state.tree)
        refuse_another_architecture(path, (fields, self._config), (found, layout(state)))
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        restored: Any = self._manager.restore(step, args=items)
        if digests:
            digests.check_state(restored.state)
        else:
            logging.warning("%s was written without digests, so its content could not be verified", path)
        return Restored(restored.state, step, fields, saved.loop)

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            taken = len(list(self._directory.glob(f"unreadable-{step:08d}*")))
            aside = self._directory / (f"unreadable-{step:08d}" + (f"-{taken}" if taken else ""))
            with writing(aside):
                self._path(step).rename(aside)
        if steps:
            self._manager.reload()

    def _remove_remains(self) -> None:
        """Removes the remains of interrupted saves.

        Orbax would do so in a thread that nothing waits for. That thread could meet the next run's thread,
        and in a bucket delete the new checkpoint of the same step.
        """
        if is_object_store(self._directory):
            for step in self._directory.glob("[0-9]*"):
                if not is_committed(step):
                    step.rmtree()
        for part in self._directory.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
            part.rmtree()

    def _path(self, step: int) -> epath.Path:
        return self._directory / f"{step:08d}"

    def _write_error(self, error: Exception) -> UserError:
        if not (is_storage_error(error) or isinstance(error, ValueError)):  # tensorstore's are ValueErrors
            raise error
        last = self._manager.latest_step()
        kept = "no earlier one exists" if last is None else f"the last good one is of step {last}"
        return UserError(
            f"cannot write a checkpoint to {self._directory}: {_first(error)}; {kept}. Free some space or "
            "correct the permissions, then run the same command again"
        )


def _read_through(directory: epath.Path) -> None:
    """Reads every array's bytes once, one after another, and raises at the first that is missing.

    Orbax reads all arrays at once; for a damaged file it prints a screenful of its event loop's tracebacks.
    """
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": kvstore_spec(directory)}).result()
    keys = store.list().result()
    if not keys:
        raise FileNotFoundError(f"no arrays in {directory}")
    for key in keys:
        if not store.read(key).result().value:  # so tensorstore reports a missing file
            raise FileNotFoundError(f"{key.decode()} has no content in {directory}")


def _first(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def _not_from_orbax(record: Any) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


def _out_of_reach(error: Exception) -> bool:
    """Returns whether the bucket failed to answer or to obey, which says nothing about the checkpoint."""
    return is_storage_error(error) and not isinstance(error, FileNotFoundError)
