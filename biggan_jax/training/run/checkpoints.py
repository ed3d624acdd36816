"""Checkpoints: the training state and its config, written by orbax in the background.

Each step has a directory, `00001000/`, with three items: `state` (the pytree), `config` (JSON: its fields and
their hash) and `loop` (JSON: what the loop carries between steps besides the state). A directory gets its
name by a rename when it is complete. Arrays are saved as plain host arrays, without a trace of the number of
devices or processes. Only the first process of a run opens the checkpoints.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from absl import logging
from etils import epath
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from biggan_jax.config import config_to_json, differences
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import is_object_store, is_storage_error, resolve_directory, writing
from biggan_jax.training.run.committed import is_committed

# Fields of config.model that do not change the shapes of the parameters.
_NO_PARAMETERS = {"model.dtype", "model.remat", "model.epsilon", "model.latent_distribution"}


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
        self._config = config_to_json(config)
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
            self._manager = ocp.CheckpointManager(
                self._directory,
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(multiprocessing_options=first),
                    "config": json_handler,
                    "loop": json_handler,
                },
                options=ocp.CheckpointManagerOptions(
                    **_preservation(config.checkpoints),
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
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(jax.device_get(state)),
            config=ocp.args.JsonSave({"fields": self._config, "sha256": config_hash(self._config)}),
            loop=ocp.args.JsonSave(loop),
        )
        try:
            self._manager.save(step, args=items, metrics=dict(scores or {}))
        except Exception as error:
            raise self._write_error(error) from error

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
        items = ocp.args.Composite(config=ocp.args.JsonRestore(), loop=ocp.args.JsonRestore())
        saved: Any = self._manager.restore(step, args=items)
        fields = saved.config["fields"]
        if saved.config["sha256"] != config_hash(fields):
            raise ValueError("its config has changed since it was saved: the hash differs")
        _read_through(self._path(step) / "state")
        self._refuse_another_architecture(step, fields, state)
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        restored: Any = self._manager.restore(step, args=items)
        return Restored(restored.state, step, fields, saved.loop)

    def _refuse_another_architecture(self, step: int, saved_config: dict[str, Any], state: Any) -> None:
        fields = {
            field: values
            for field, values in differences(saved_config, self._config).items()
            if field.startswith("model.") and field not in _NO_PARAMETERS
        }
        remedy = "set these fields back"
        if not fields:  # an older version of the code may differ where the config does not
            saved, now = _layout(self._manager.item_metadata(step).state.tree), _layout(state)
            fields = differences(saved, now)
            fields |= {name: "gone" for name in saved.keys() - now.keys()}
            fields |= {name: "new" for name in now.keys() - saved.keys()}
            remedy = "resume with the version of the code that wrote it"
        if fields:
            listed = [f"  {field}: {values}" for field, values in sorted(fields.items())]
            if len(listed) > 12:
                listed[12:] = [f"  … and {len(listed) - 12} more"]
            raise UserError(
                f"the checkpoint {self._path(step)} is of another architecture or optimiser (saved → now):\n"
                + "\n".join(listed)
                + f"\nchoose another --workdir, or {remedy}"
            )

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


def config_hash(fields: Mapping[str, Any]) -> str:
    """Returns SHA-256 of a config as JSON with sorted keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _preservation(rules: ConfigDict) -> dict[str, Any]:
    """Returns orbax's options to keep the newest, those of every `keep_every` steps, and the best."""
    policies: list[Any] = [preservation_policy.LatestN(rules.keep)]
    if rules.keep_every:
        policies.append(preservation_policy.EveryNSteps(rules.keep_every))
    if not rules.best:
        return {"preservation_policy": preservation_policy.AnyPreservationPolicy(policies)}

    def rank(scores: Mapping[str, float | None]) -> float:
        value = scores.get(rules.metric)
        if value is None or math.isnan(value):
            return -math.inf
        return value if rules.higher_is_better else -value

    best = preservation_policy.BestN(get_metric_fn=rank, n=rules.best, keep_checkpoints_without_metrics=False)
    policy = preservation_policy.AnyPreservationPolicy([*policies, best])
    return {"preservation_policy": policy, "best_fn": rank, "best_mode": "max"}


def _layout(tree: Any) -> dict[str, str]:
    """Returns `{"state.generator.….kernel": "float32[3, 3, 64, 64]"}`.

    Args:
      tree: A state, or orbax's description of one.
    """
    flat = ocp.tree.to_flat_dict(tree)
    return {".".join(["state", *path]): f"{np.dtype(x.dtype)}{list(x.shape)}" for path, x in flat.items()}


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


def kvstore_spec(directory: epath.Path) -> dict[str, str]:
    """Describes a directory to tensorstore.

    The description is no URL: there `#`, `?` and `%` in a name have meanings of their own.
    """
    path = f"{directory}/"
    if not is_object_store(directory):
        return {"driver": "file", "path": path}
    bucket, _, path = path.removeprefix("gs://").partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": path}


def _out_of_reach(error: Exception) -> bool:
    """Returns whether the bucket failed to answer or to obey, which says nothing about the checkpoint."""
    return is_storage_error(error) and not isinstance(error, FileNotFoundError)
