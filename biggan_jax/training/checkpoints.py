"""Checkpoints: the whole training state by orbax, asynchronously, with the config it belongs to.

One directory a step, `00001000/`, with three items: `state` (the pytree), `config` (JSON) and `loop` (JSON:
what the loop carries from step to step besides the state). A step's directory appears by a rename when all of
it is written. Arrays are saved as plain host arrays: how many devices or processes made them leaves no trace.
"""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from absl import logging
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from biggan_jax.cli import UserError
from biggan_jax.training.workdir import config_to_json, differences, writing

# These fields of config.model say how the networks compute, not what parameters they have.
_NO_PARAMETERS = {"model.dtype", "model.remat", "model.epsilon", "model.latent_distribution"}


class Restored(NamedTuple):
    """What a checkpoint held."""

    state: Any  # same tree as given, leaves are host arrays
    step: int
    config: dict[str, Any]
    loop: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; the newest `config.checkpoints.keep` are kept.

    Args:
      directory: is created if missing.
      config: the run's config; saved with each checkpoint.
      read_only: for whoever looks at a run that may be under way: nothing is created, tidied up or renamed.

    Raises:
      UserError: the directory cannot be written.
    """

    def __init__(self, directory: str | os.PathLike, config: ConfigDict, read_only: bool = False):
        self._directory, self._read_only = Path(directory).absolute(), read_only
        self._config = config_to_json(config)
        # Its errors reach us as exceptions; the tracebacks that its threads log too would bury our message.
        logging.get_absl_logger().addFilter(_not_from_orbax)
        with writing(self._directory):
            if not read_only:
                self._tidy_up()
            self._manager = ocp.CheckpointManager(
                self._directory,
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(),
                    "config": ocp.JsonCheckpointHandler(),
                    "loop": ocp.JsonCheckpointHandler(),
                },
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=preservation_policy.LatestN(config.checkpoints.keep),
                    step_format_fixed_length=8,
                    cleanup_tmp_directories=True,
                    read_only=read_only,
                ),
            )

    def save(self, step: int, state: Any, loop: dict[str, Any]) -> None:
        """Copies `state` to the host, then writes it in the background; does nothing if `step` is there.

        Waits for the save before it, so at most one is under way.

        Raises:
          UserError: this save, or the one before it, could not be written.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(jax.device_get(state)),
            config=ocp.args.JsonSave(self._config),
            loop=ocp.args.JsonSave(loop),
        )
        try:
            self._manager.save(step, args=items)
        except (OSError, ValueError) as error:
            raise self._write_error(error) from error

    def wait(self) -> None:
        """Returns when the last save is on disk.

        Raises:
          UserError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
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
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore(step, state)
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes orbax or its libraries raise
                if isinstance(error, PermissionError) or "PERMISSION_DENIED" in str(error):
                    raise UserError(
                        f"not allowed to read the checkpoint {self._path(step)}; give yourself read "
                        "permission, or choose another --workdir"
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

    def _restore(self, step: int, state: Any) -> Restored:
        items = ocp.args.Composite(config=ocp.args.JsonRestore(), loop=ocp.args.JsonRestore())
        saved = self._manager.restore(step, args=items)
        _read_through(self._path(step) / "state")
        self._refuse_another_architecture(step, saved.config, state)
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        restored = self._manager.restore(step, args=items)
        return Restored(restored.state, step, saved.config, saved.loop)

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

        Orbax could, but in a thread that nothing waits for: it would stumble over the next run's.
        """
        for part in self._directory.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
            shutil.rmtree(part)

    def _path(self, step: int) -> Path:
        return self._directory / f"{step:08d}"

    def _write_error(self, error: Exception) -> UserError:
        last = self._manager.latest_step()
        kept = "there is none before it" if last is None else f"the last good one is of step {last}"
        return UserError(
            f"cannot write a checkpoint to {self._directory}: {_first(error)}; {kept}. Free some space or "
            "mend the permissions, then run the same command again"
        )


def _layout(tree: Any) -> dict[str, str]:
    """`{"state.generator.….kernel": "float32[3, 3, 64, 64]"}` for a state, or orbax's description of one."""
    flat = ocp.tree.to_flat_dict(tree)
    return {".".join(["state", *path]): f"{np.dtype(x.dtype)}{list(x.shape)}" for path, x in flat.items()}


def _read_through(directory: Path) -> None:
    """Reads every array's bytes once, one after another, and raises at the first that is not there.

    Orbax reads them all at once and on a damaged file leaves a screenful of its event loop's tracebacks.
    """
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{directory}/"}).result()
    keys = store.list().result()
    if not keys:
        raise FileNotFoundError(f"no arrays in {directory}")
    for key in keys:
        store.read(key).result()


def _first(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def _not_from_orbax(record: Any) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname
