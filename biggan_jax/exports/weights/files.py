"""Files of weights as bytes and tensors; nothing in them is executed."""

import hashlib
from pathlib import Path

import numpy as np
import safetensors.numpy

from biggan_jax.runtime import torch_files
from biggan_jax.runtime.errors import UserError


def read_bytes(path: Path) -> bytes:
    """A file's content, or a UserError that names it."""
    refuse_devices(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def refuse_devices(path: Path) -> None:
    """Raises UserError for what would never end or never answer, be it behind a link."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is no file; get it again")


def sha256(path: Path) -> str:
    """The SHA-256 of a file of any size, as hexadecimal digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def read_state(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a .safetensors file or of one of `torch.save`, by name, and the file's SHA-256.

    Raises:
      UserError: there is no such file, it is damaged, or it holds anything but named tensors.
    """
    content = read_bytes(path)
    if path.suffix == ".safetensors":
        try:
            state = safetensors.numpy.load(content)
        except Exception as error:  # whatever a damaged file makes safetensors raise
            raise UserError(f"{path} is damaged, or not of safetensors ({error}); get it again") from error
    else:
        state = torch_files.parse(content, str(path))
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, np.ndarray) for name, tensor in state.items()
    ):
        raise UserError(
            f"{path} is no state dict: it must map names to tensors and hold nothing else; load it with "
            "PyTorch and save its state dict alone"
        )
    return state, hashlib.sha256(content).hexdigest()
