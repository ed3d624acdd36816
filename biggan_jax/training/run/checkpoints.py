"""Checkpoints: the whole training state by orbax, asynchronously, with the config it belongs to.

One directory a step, `00001000/`, with three items: `state` (the pytree), `config` (JSON: its fields and
their hash) and `loop` (JSON: what the loop carries from step to step besides the state). A step's directory
appears by a rename when all of it is written. Arrays are saved as plain host arrays: how many devices or
processes made them leaves no trace. Of several processes, the first alone opens the checkpoints.
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

# These fields of config.model say how the networks compute, not what parameters they have.
_NO_PARAMETERS = {"model.dtype", "model.remat", "model.epsilon", "model.latent_distribution"}


class Restored(NamedTuple):
    """What a checkpoint held."""

    state: Any  # same tree as given, leaves are host arrays
    step: int
    config: dict[str, Any]
    loop: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; which of them are kept, `config.checkpoints` says.

    Args:
      directory: is created if missing.
      config: the run's config; saved with each checkpoint, with its hash.
      read_only: for whoever looks at a run that may be under way: nothing is created, tidied up or renamed.

    Raises:
      UserError: the directory cannot be written.
    """

    def __init__(self, directory: str | os.PathLike, config: ConfigDict, read_only: bool = False):
        self._directory, self._read_only = resolve_directory(directory), read_only
        self._config = config_to_json(config)
        # Its errors reach us as exceptions; the tracebacks that its threads log too would bury our message.
        logging.get_absl_logger().addFilter(_not_from_orbax)
        with writing(self._directory):
            if not read_only:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._tidy_up()
            # Nothing in here may wait for the other processes of a run, which have no part in it.
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
        """Those of the checkpoints there are, ascending."""
        return sorted(self._manager.all_steps())

    @property
    def best(self) -> int | None:
        """The step of the best one by `config.checkpoints.metric`; None if none has that number."""
        step, metric = self._manager.best_step(), self._config["checkpoints"]["metric"]
        if step is None:
            return None
        value = (self._manager.metrics(step) or {}).get(metric)
        return None if value is None or math.isnan(value) else step

    def save(
        self, step: int, state: Any, loop: dict[str, Any], scores: Mapping[str, float | None] | None = None
    ) -> None:
        """Copies `state` to the host, then writes it in the background; does nothing if `step` is there.

        Waits for the save before it, so at most one is under way.

        Args:
          step: the state's.
          state: arrays that are whole in this process.
          loop: what JSON holds.
          scores: numbers of this step; `config.checkpoints.metric`, if there, says how good it is.

        Raises:
          UserError: this save, or the one before it, could not be written.
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
        """Returns when the last save is on disk.

        Raises:
          UserError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._write_error(error) from error

    def close(self) -> None:
        """Releases orbax's threads, after the save under way; call `wait` first to hear of its errors."""
        self._manager.close()

    def restore_latest(self, state: Any) -> Restored | None:
        """Reads the newest checkpoint that can be read; None if there are no checkpoints.

        A checkpoint that is cut short or half written is passed over with a warning, and renamed to
        `unreadable-STEP` once an older one has been read, to make room for the same step's new one.

        Args:
          state: a state of the present config; gives the tree, shapes and types expected.

        Raises:
          UserError: the checkpoint is of another architecture or optimiser (the message lists the fields that
            differ), may not be read, or there are checkpoints but none is readable.
        """
        unreadable: list[int] = []
        for step in reversed(self.steps):
            try:
                restored = self.restore(step, state)
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes orbax or its libraries raise
                if isinstance(error, PermissionError) or "PERMISSION_DENIED" in str(error):
                    raise UserError(
                        f"not allowed to read the checkpoint {self._path(step)}; give yourself read "
                        "permission, or choose another --workdir"
                    ) from error
                if is_object_store(self._directory) and _out_of_reach(error):
                    raise UserError(
                        f"cannot read the checkpoint {self._path(step)}: {_first(error)}; see that the "
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
                f"none of the checkpoints in {self._directory} can be read; bring back a copy of one, or "
                "choose another --workdir to start from the beginning"
            )
        return None

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of the steps after `step`."""
        with writing(self._directory):
            for later in self.steps:
                if later > step:
                    self._manager.delete(later)

    def restore(self, step: int, state: Any) -> Restored:
        """Reads the checkpoint of `step`, as `restore_latest` does.

        Raises:
          UserError: it is of another architecture or optimiser.
          Exception: whatever a damaged file makes orbax or its libraries raise.
        """
        items = ocp.args.Composite(config=ocp.args.JsonRestore(), loop=ocp.args.JsonRestore())
        saved = self._manager.restore(step, args=items)
        fields = saved.config["fields"]
        if saved.config["sha256"] != config_hash(fields):
            raise ValueError("its config is not the one that was saved: the hash differs")
        _read_through(self._path(step) / "state")
        self._refuse_another_architecture(step, fields, state)
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        restored = self._manager.restore(step, args=items)
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
            remedy = "go on with the version of the code that wrote it"
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

    def _tidy_up(self) -> None:
        """Removes what saves that were cut off left behind.

        Orbax could, but in a thread that nothing waits for: it would stumble over the next run's, and in a
        bucket delete the same step's new checkpoint.
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
        kept = "there is none before it" if last is None else f"the last good one is of step {last}"
        return UserError(
            f"cannot write a checkpoint to {self._directory}: {_first(error)}; {kept}. Free some space or "
            "mend the permissions, then run the same command again"
        )


def config_hash(fields: Mapping[str, Any]) -> str:
    """SHA-256 of a config as JSON with sorted keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _preservation(rules: ConfigDict) -> dict[str, Any]:
    """Orbax's options for the newest `keep`, every `keep_every` steps' and the `best` by `metric`."""
    policies = [preservation_policy.LatestN(rules.keep)]
    if rules.keep_every:
        policies.append(preservation_policy.EveryNSteps(rules.keep_every))
    if not rules.best:
        return {"preservation_policy": preservation_policy.AnyPreservationPolicy(policies)}

    def goodness(scores: Mapping[str, float | None]) -> float:
        value = scores.get(rules.metric)
        if value is None or math.isnan(value):
            return -math.inf
        return value if rules.higher_is_better else -value

    best = preservation_policy.BestN(
        get_metric_fn=goodness, n=rules.best, keep_checkpoints_without_metrics=False
    )
    policy = preservation_policy.AnyPreservationPolicy([*policies, best])
    return {"preservation_policy": policy, "best_fn": goodness, "best_mode": "max"}


def _layout(tree: Any) -> dict[str, str]:
    """`{"state.generator.….kernel": "float32[3, 3, 64, 64]"}` for a state, or orbax's description of one."""
    flat = ocp.tree.to_flat_dict(tree)
    return {".".join(["state", *path]): f"{np.dtype(x.dtype)}{list(x.shape)}" for path, x in flat.items()}


def _read_through(directory: epath.Path) -> None:
    """Reads every array's bytes once, one after another, and raises at the first that is not there.

    Orbax reads them all at once and on a damaged file leaves a screenful of its event loop's tracebacks.
    """
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": kvstore_spec(directory)}).result()
    keys = store.list().result()
    if not keys:
        raise FileNotFoundError(f"no arrays in {directory}")
    for key in keys:
        if not store.read(key).result().value:  # what it says of a file that is gone
            raise FileNotFoundError(f"{key.decode()} has no content in {directory}")


def _first(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def _not_from_orbax(record: Any) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


def kvstore_spec(directory: epath.Path) -> dict[str, str]:
    """A directory for tensorstore. Not as a URL, where `#`, `?` and `%` in a name mean something else."""
    path = f"{directory}/"
    if not is_object_store(directory):
        return {"driver": "file", "path": path}
    bucket, _, path = path.removeprefix("gs://").partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": path}


def _out_of_reach(error: Exception) -> bool:
    """Whether the bucket did not answer or not obey: that says nothing about the checkpoint."""
    return is_storage_error(error) and not isinstance(error, FileNotFoundError)
