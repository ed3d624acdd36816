"""Files of weights as bytes and tensors; no code in them is executed."""

import hashlib
from pathlib import Path

import numpy as np
import safetensors.numpy

from biggan_jax.runtime import torch_files
from biggan_jax.runtime.errors import UserError


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
      UserError: If the file cannot be read.
    """
    refuse_devices(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def refuse_devices(path: Path) -> None:
    """Raises UserError for devices and pipes, also behind a link: reading them may never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is no regular file; get it again")


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file of any size, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def read_state(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Reads the tensors of a .safetensors file or a file of `torch.save`.

    Returns:
      The tensors by name, and the SHA-256 of the file.

    Raises:
      UserError: If the file is missing or damaged, or holds anything but named tensors.
    """
    content = read_bytes(path)
    if path.suffix == ".safetensors":
        try:
            state = safetensors.numpy.load(content)
        except Exception as error:  # safetensors raises many kinds for damaged files
            raise UserError(
                f"{path} is damaged, or not in safetensors format ({error}); get it again"
            ) from error
    else:
        state = torch_files.parse(content, str(path))
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, np.ndarray) for name, tensor in state.items()
    ):
        raise UserError(
            f"{path} is no state dict: it must map names to tensors and hold nothing else; load it with "
            "PyTorch and save only its state dict"
        )
    return state, hashlib.sha256(content).hexdigest()
