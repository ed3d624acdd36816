"""Digests of a checkpoint's content: SHA-256 of each array, of the loop's values and of the scores.

They are computed from memory while orbax writes, in a thread of their own, and saved beside the state as the
item `digests` (JSON). Reading compares them with what came back, so that a bit which flipped on a disk or on
its way is noticed wherever it lies.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.future import CommitFutureAwaitingContractedSignals, Future

from biggan_jax.runtime.files import write_file
from biggan_jax.runtime.json_digest import json_digest
from biggan_jax.runtime.json_values import parse_json

ITEM = "digests"
_FILE = "metadata"  # the name that orbax's JSON handler gives
_THREADS = min(8, os.cpu_count() or 1)  # to check with; a save leaves the processor to the step


class DamagedError(ValueError):
    """The content of a checkpoint is not what was saved."""


@dataclass(frozen=True)
class Digests:
    """What a checkpoint must contain.

    Attributes:
      arrays: SHA-256 of each array, by its name.
      layout: Type and shape of each array, by its name.
      loop: SHA-256 of the loop's values.
      scores: SHA-256 of the numbers that rank the checkpoint.
    """

    arrays: dict[str, str]
    layout: dict[str, str]
    loop: str
    scores: str

    def check_state(self, state: Any) -> None:
        """Compares every array with its digest.

        Args:
          state: Tree of host arrays that was read.

        Raises:
          DamagedError: Arrays are missing or changed; the message names the first.
        """
        found = _digest_arrays(state, _THREADS)
        changed = sorted(
            name for name in self.arrays.keys() | found if self.arrays.get(name) != found.get(name)
        )
        if changed:
            raise DamagedError(
                f"{len(changed)} of {len(self.arrays)} arrays changed since it was saved: {changed[0]}"
            )

    def check_loop(self, loop: Any) -> None:
        """Compares the loop's values with their digest; raises `DamagedError` if they differ."""
        if json_digest(loop) != self.loop:
            raise DamagedError("the values of its loop have changed since it was saved")


@dataclass
class DigestsToSave(ocp.args.CheckpointArgs):
    """What `DigestsHandler` computes digests of.

    Attributes:
      state: Tree of host arrays, which nobody changes until the save ends.
      loop: SHA-256 of the loop's values.
      scores: SHA-256 of the numbers that rank the checkpoint.
    """

    state: Any
    loop: str
    scores: str


class DigestsHandler(ocp.JsonCheckpointHandler):
    """Computes the digests of a checkpoint in the background, and writes them before it is complete."""

    async def async_save(self, directory: epath.Path, item: Any = None, args: Any = None) -> list[Future]:
        """Starts to compute and to write; orbax waits for the future before it gives the checkpoint its name.

        Args:
          directory: Directory of the item.
          item: Unused.
          args: A `DigestsToSave`.
        """
        del item

        async def write() -> None:
            (directory / _FILE).write_text(json.dumps(_describe(args)))

        return [CommitFutureAwaitingContractedSignals(write(), name="digests")]


# Orbax takes a handler only with arguments for both; `read_digests` reads without it.
ocp.args.register_with_handler(DigestsHandler, for_save=True, for_restore=True)(DigestsToSave)


def read_digests(checkpoint: epath.Path) -> Digests | None:
    """Reads the digests of a checkpoint; returns None if an older version wrote it without any.

    Args:
      checkpoint: Directory of the checkpoint.

    Raises:
      DamagedError: The digests themselves have changed since they were saved.
    """
    folder = checkpoint / ITEM
    if not folder.exists():
        return None
    try:
        saved = parse_json((folder / _FILE).read_bytes())
        if json_digest(saved["content"]) != saved["sha256"]:
            raise ValueError("the hash differs")
        return Digests(**saved["content"])
    except (ValueError, LookupError, TypeError, FileNotFoundError) as error:
        raise DamagedError(f"its digests have changed since it was saved ({error})") from error


def replace_scores(checkpoint: epath.Path, scores: dict[str, float | None]) -> None:
    """Writes the numbers that rank a checkpoint, in place of those that it was saved with.

    A kill between the two files leaves numbers that do not match their digest, and so rank nothing.

    Args:
      checkpoint: Directory of the checkpoint, which is complete.
      scores: Numbers by name.
    """
    path = checkpoint / ITEM / _FILE
    if path.exists():  # older versions wrote none
        content = json.loads(path.read_bytes())["content"] | {"scores": json_digest(scores)}
        write_file(path, json.dumps({"content": content, "sha256": json_digest(content)}).encode())
    write_file(checkpoint / "metrics" / "metrics", json.dumps(scores).encode())  # where orbax keeps them


def layout(tree: Any) -> dict[str, str]:
    """Returns `{"state.generator.….kernel": "float32[3, 3, 64, 64]"}`.

    Args:
      tree: A state, or orbax's description of one.
    """
    return {name: f"{np.dtype(x.dtype)}{list(x.shape)}" for name, x in _by_name(tree).items()}


def _describe(args: DigestsToSave) -> dict[str, Any]:
    content = {
        "arrays": _digest_arrays(args.state),
        "layout": layout(args.state),
        "loop": args.loop,
        "scores": args.scores,
    }
    return {"content": content, "sha256": json_digest(content)}


def _digest_arrays(state: Any, threads: int = 1) -> dict[str, str]:
    arrays = _by_name(state)
    with ThreadPoolExecutor(threads, thread_name_prefix="digests") as pool:  # hashing releases the GIL
        return dict(zip(arrays, pool.map(_digest_array, arrays.values()), strict=True))


def _digest_array(array: np.ndarray) -> str:
    content: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # no copy
    return hashlib.sha256(content).hexdigest()


def _by_name(tree: Any) -> dict[str, Any]:
    return {".".join(["state", *path]): leaf for path, leaf in ocp.tree.to_flat_dict(tree).items()}
