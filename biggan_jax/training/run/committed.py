"""The test whether a checkpoint is complete, by its directory alone: without orbax, and without JAX."""

from etils import epath

from biggan_jax.runtime.files import is_object_store

_LAST_OBJECT = "commit_success.txt"  # written by orbax after all other objects of a checkpoint in a bucket


def is_committed(checkpoint: epath.Path) -> bool:
    """Returns whether all of a checkpoint's directory is written.

    Locally a checkpoint gets its name by a rename, when it is complete. A bucket knows no rename; there the
    last object marks a complete checkpoint.
    """
    return not is_object_store(checkpoint) or (checkpoint / _LAST_OBJECT).exists()
