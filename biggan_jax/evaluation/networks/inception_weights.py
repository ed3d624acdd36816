"""The published weights of the FID Inception-v3: their download, check, conversion and cache.

pytorch-fid publishes them and torch-fidelity uses them: TensorFlow's weights of 2015-12-05. A file with
another hash works too, and its scores carry that hash.
"""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from absl import logging
from flax.traverse_util import flatten_dict, unflatten_dict
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

from biggan_jax.evaluation.networks.inception import CLASSES, Inception
from biggan_jax.runtime import torch_files
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import CACHE, write_file
from biggan_jax.runtime.paths import user_path
from biggan_jax.runtime.progress import bar

URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # of that file
EPSILON = 1e-3  # batch norm's

TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each retry
CHUNK = 1 << 20

State = Mapping[str, np.ndarray]  # under PyTorch's names


class Weights(NamedTuple):
    """Weights of the network.

    Attributes:
      variables: First argument of `Inception().apply`.
      sha256: Hash of the published file, equal to `SHA256` for the file that defines FID.
    """

    variables: dict[str, Any]
    sha256: str


def obtain(path: Path | None, console: Console) -> Weights:
    """Returns the weights from `path`, `$BIGGAN_INCEPTION`, the cache or a download, in this order.

    The published file is kept in the cache (`$BIGGAN_CACHE`, `~/.cache/biggan_jax`), and compared with
    `SHA256` at each use. Older versions kept a conversion, whose digest stands only beside it; it still
    serves, with a warning.

    Args:
      path: A .pth state dict, a .safetensors file with the same names, or None.
      console: Console for the progress of a download.

    Raises:
      UserError: The weights are missing, damaged or of another network, or cannot be downloaded.
    """
    if path is None and os.environ.get("BIGGAN_INCEPTION"):
        path = Path(user_path(os.environ["BIGGAN_INCEPTION"], "BIGGAN_INCEPTION="))
    kept = cache_folder(f"pt_inception-2015-12-05-{SHA256[:8]}.pth")
    converted = cache_folder("inception-2015-12-05.safetensors")
    if path is None:
        for cached in (kept, converted):
            if cached.exists():
                try:
                    weights, _ = _read_weights(cached)
                    if weights.sha256 != SHA256:
                        raise UserError(f"{cached} is damaged: its SHA-256 is {weights.sha256}")
                    return weights
                except UserError as error:
                    logging.warning("%s: downloading it again", error)
                    cached.unlink(missing_ok=True)
        content = download(URL, SHA256, console)
        weights = Weights(convert(torch_files.parse(content, URL), URL), SHA256)
    else:
        weights, content = _read_weights(path)
    if hashlib.sha256(content).hexdigest() == SHA256 and not kept.exists():
        _keep(kept, content)
    return weights


def _read_weights(path: Path) -> tuple[Weights, bytes]:
    """Returns the weights of a file, and its content."""
    content = _read(path)
    state, sha256 = (_parse_safetensors if path.suffix == ".safetensors" else _parse_pth)(path, content)
    return Weights(convert(state, str(path)), sha256), content


def convert(state: State, name: str) -> dict[str, Any]:
    """Converts a PyTorch state dict to flax variables with batch norm folded in.

    Kernels become `[height, width, in, out]`. With batch norm's mean μ, variance σ², gain γ and bias β, a
    layer's kernel is W · γ / √(σ² + ε) and its bias β − μ · γ / √(σ² + ε), computed in float64. The bias of
    the last layer is left out, because no score uses it.

    Raises:
      UserError: Tensors are missing, surplus, of another shape or not finite. The message names them and the
        file.
    """
    network = jax.eval_shape(
        Inception().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8)
    )
    kernels = {
        path[:-1]: leaf.shape
        for path, leaf in cast(Mapping[tuple[str, ...], Any], flatten_dict(network["params"])).items()
        if path[-1] == "kernel"
    }
    _check(state, _expected(kernels), name)
    params: dict[tuple[str, ...], np.ndarray] = {}
    for path in kernels:
        layer = ".".join(path)
        if path == ("fc",):
            params[*path, "kernel"] = state["fc.weight"].astype(np.float32).T
            continue
        weight, gain, bias, mean, variance = (
            state[f"{layer}.{part}"].astype(np.float64)
            for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = gain / np.sqrt(variance + EPSILON)
            kernel = weight.transpose(2, 3, 1, 0) * scale
            params[*path, "kernel"] = kernel.astype(np.float32)
            params[*path, "bias"] = (bias - mean * scale).astype(np.float32)
    for path, array in params.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"{name}: the weights of {'.'.join(path[:-1])} are not finite; get the file again"
            )
    return {"params": unflatten_dict(params)}


def _expected(kernels: Mapping[tuple[str, ...], tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the tensors of the file, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, shape in kernels.items():
        layer, channels = ".".join(path), shape[-1]
        if layer == "fc":
            shapes |= {"fc.weight": shape[::-1], "fc.bias": (CLASSES,)}
            continue
        height, width, inputs, _ = shape
        shapes[f"{layer}.conv.weight"] = (channels, inputs, height, width)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{layer}.bn.{part}"] = (channels,)
    return shapes


def _check(state: State, expected: Mapping[str, tuple[int, ...]], name: str) -> None:
    if not isinstance(state, Mapping) or not all(isinstance(x, np.ndarray) for x in state.values()):
        raise UserError(f"{name} is not a state dict: it must map names to tensors and hold nothing else")
    given = {key for key in state if not key.endswith(".num_batches_tracked")}  # not in the oldest files
    misshapen = (
        f"{key} {list(state[key].shape)} in place of {list(shape)}"
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
    )
    faults = {
        "missing": _some(expected.keys() - given),
        "surplus": _some(given - expected.keys()),
        "of another shape": _some(misshapen),
    }
    if any(faults.values()):
        listed = "; ".join(f"{fault}: {names}" for fault, names in faults.items() if names)
        raise UserError(f"{name} holds another network than the FID Inception-v3 ({listed}); get {URL}")


def _some(names: Iterable[str], most: int = 4) -> str:
    names = sorted(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read Inception's weights {path}: {error.strerror}. {_ADVICE}") from error


def _parse_pth(path: Path, content: bytes) -> tuple[State, str]:
    sha256 = hashlib.sha256(content).hexdigest()
    named = re.search(r"-([0-9a-f]{8})\.pth$", path.name)  # PyTorch's convention
    if named and not sha256.startswith(named[1]):
        raise UserError(f"{path} is damaged: its SHA-256 begins with {sha256[:8]}; get {URL} again")
    return torch_files.parse(content, str(path)), sha256


def _parse_safetensors(path: Path, content: bytes) -> tuple[State, str]:
    try:
        state = safetensors.numpy.load(content)
        with safetensors.safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
    except Exception as error:  # safetensors raises many kinds for a damaged file
        raise UserError(f"{path} is damaged or no safetensors file ({error}); get it again") from error
    if "source_sha256" not in about:
        return state, hashlib.sha256(content).hexdigest()
    if about.get("tensors_sha256") != _hash(state):
        raise UserError(f"{path} is damaged: its tensors differ from those that were written; delete it")
    logging.warning(
        "%s was converted by an older version; that its tensors are those of the published file could not be "
        "verified; if you delete the file, the published one is downloaded",
        path,
    )
    return state, about["source_sha256"]


def _keep(path: Path, content: bytes) -> None:
    """Writes the published file whole or not at all; where that fails, the next run downloads it again."""
    try:
        write_file(path, content, CACHE, shared=True)  # every process of a machine may be writing it
    except UserError as error:
        logging.warning("Inception's weights could not be kept, and are downloaded again: %s", error)


def _hash(state: State) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(state.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


_ADVICE = (
    f"The file is {URL} (96 MB; pytorch-fid and torch-fidelity keep it in ~/.cache/torch/hub/checkpoints): "
    "name your copy as inception:PATH or in $BIGGAN_INCEPTION. Without it, the feature network 'classifier' "
    "works, which is trained on the reference itself"
)


def download(url: str, sha256: str, console: Console) -> bytes:
    """Downloads a file and checks its hash; a broken connection is resumed.

    Args:
      url: Address of the file.
      sha256: Its hash.
      console: Console for the progress bar.

    Raises:
      UserError: The server cannot be reached, lacks the file, or sends another one.
    """
    got = bytearray()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with bar(console, *columns) as progress:
        task = progress.add_task("Inception's weights", total=None)
        for wait in (*WAITS, None):
            try:
                for done, total in _receive(url, got):
                    progress.update(task, completed=done, total=total)
                if hashlib.sha256(got).hexdigest() == sha256:
                    return bytes(got)
                reason = f"its SHA-256 is {hashlib.sha256(got).hexdigest()}, not {sha256}"
                break
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
                if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                    break
            if wait is not None:
                time.sleep(wait)
    raise UserError(f"Inception's weights could not be downloaded ({reason}). {_ADVICE}")


def _receive(url: str, got: bytearray) -> Iterable[tuple[int, int]]:
    """Appends the rest of the file to `got`, and yields its length and the total after each piece."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={len(got)}-"} if got else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            got.clear()
        total = len(got) + int(response.headers.get("Content-Length", 0))
        while piece := response.read(CHUNK):
            got += piece
            yield len(got), total
    if len(got) < total:
        raise ConnectionError(f"the connection broke after {len(got):,} of {total:,} bytes")
