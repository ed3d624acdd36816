"""The readers that the fuzz test gives damaged files: how to write a valid file, and how it is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import safetensors.numpy
import torch_writer

RNG = np.random.default_rng(0)
ARRAYS = {"layer.weight": RNG.normal(size=(4, 3)).astype(np.float32), "layer.bias": np.arange(4.0)}


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
      write: Writes valid files below a folder; returns those to damage.
      read: Reads what `write` has written.
      kind: Form of the files, for edits that keep it: "bytes", "json" or "zip".
      verified: Whether the content has a digest, so that a read that succeeds must give the undamaged value.
    """

    write: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    kind: str = "bytes"
    verified: bool = False


def _one(name: str, content: Callable[[], bytes]) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        (folder / name).write_bytes(content())
        return [folder / name]

    return write


def _npz(**arrays: np.ndarray) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        np.savez_compressed(folder / "file.npz", **arrays)  # pyright: ignore[reportArgumentType]
        return [folder / "file.npz"]

    return write


def _read_pth(folder: Path) -> Any:
    from biggan_jax.runtime import torch_files

    return torch_files.read(folder / "file.pth")


def _read_state(folder: Path) -> Any:
    from biggan_jax.exports.weights.files import read_state

    return read_state(folder / "file.safetensors")[0]


def _read_samples(folder: Path) -> Any:
    from biggan_jax.sampling.sample_file import read_samples

    return read_samples(folder / "file.npz", 4, 3)


def _read_latents(folder: Path) -> Any:
    from biggan_jax.sampling.latents_file import read_latents

    sampler: Any = SimpleNamespace(latent_dim=6, num_classes=3)
    return read_latents(folder / "file.npz", sampler)


def _read_statistics(folder: Path) -> Any:
    from biggan_jax.evaluation.scores.statistics_file import read_statistics

    return read_statistics(folder / "file.npz", 3)


def _write_export(folder: Path) -> list[Path]:
    from tiny_exports import make_exported

    from biggan_jax.exports.export_files import write_export

    write_export(folder / "export", make_exported(training=True))
    return sorted((folder / "export").iterdir())


def _read_export(folder: Path) -> Any:
    from biggan_jax.exports.export_files import read_export

    found = read_export(folder / "export", training=True)
    return found.params, found.statistics, found.class_names, found.provenance, found.model.to_json()


def _config() -> bytes:
    from tiny_workdirs import make_run_config

    from biggan_jax.config import config_to_json

    return json.dumps(config_to_json(make_run_config())).encode()


def _read_config(folder: Path) -> Any:
    from etils import epath

    from biggan_jax.training.run import saved_run

    saved_run.recorded_loss(epath.Path(folder))
    return saved_run.saved_config(epath.Path(folder))


def _read_class_names(folder: Path) -> Any:
    from etils import epath

    from biggan_jax.training.run.saved_run import recorded_class_names

    return recorded_class_names(epath.Path(folder))


def _rows() -> bytes:
    rows = [{"step": step, "d_loss": 1 / step, "fid@classifier": None} for step in range(1, 6)]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _read_rows(folder: Path) -> Any:
    from biggan_jax.training.monitoring.curves import draw_panels
    from biggan_jax.training.monitoring.rows import read_rows

    rows = read_rows(folder / "metrics.jsonl")
    draw_panels(rows)
    return rows


def _write_sweep(folder: Path) -> list[Path]:
    from finished_runs import make_runs

    _, workdir = make_runs(folder)
    return sorted(path for path in Path(workdir).glob("*/*.json*") if path.is_file())


def _read_sweep(folder: Path) -> Any:
    from etils import epath

    from biggan_jax.sweeps.results import collect
    from biggan_jax.sweeps.sweep_file import read_sweep

    return str(collect(read_sweep(str(folder / "sweep.py")), epath.Path(folder / "sweep")))


def _write_prepared(folder: Path) -> list[Path]:
    from PIL import Image

    from biggan_jax.data.catalogue import open_splits
    from biggan_jax.data.writing import write_prepared

    for number in range(6):
        path = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
    write_prepared(open_splits(f"folder:{folder / 'pictures'}", 8, 0.01), str(folder / "set"), 0.01)
    return sorted(path for path in (folder / "set").iterdir() if path.name[0] != ".")


def _read_prepared(folder: Path) -> Any:
    from biggan_jax.data import open_source
    from biggan_jax.data.verification import verify_prepared

    verify_prepared(str(folder / "set"))
    source = open_source(f"prepared:{folder / 'set'}", resolution=8).in_memory()
    return source.images, source.labels, source.class_names


def _write_idx(folder: Path) -> list[Path]:
    import gzip

    content = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 3)) + bytes(range(18))
    (folder / "file.gz").write_bytes(gzip.compress(content, mtime=0))
    return [folder / "file.gz"]


def _read_idx(folder: Path) -> Any:
    from biggan_jax.data.idx import read_idx

    return read_idx(folder / "file.gz", (None, 3, 3))


def _write_scan(folder: Path) -> list[Path]:
    from biggan_jax.data.scan import ScanResult, _save

    _save(folder / "scan.gz", {f"{n}.png": ([n, n], ScanResult(n, "")) for n in range(9)})
    return [folder / "scan.gz"]


def _read_scan(folder: Path) -> Any:
    from biggan_jax.data.scan import _load

    return _load(folder / "scan.gz")


def _write_module(folder: Path) -> list[Path]:
    from tfhub_files import ROWS, batch_norms, random_tables, random_variables, write_checkpoint, write_graph

    variables = random_variables(widths=[16, 8], deep=False, attention=None)
    write_checkpoint(folder / "module" / "variables" / "variables", variables)
    tables = random_tables(batch_norms(False, 1), variables, ROWS[False])
    write_graph(folder / "module" / "saved_model.pb", list(tables.values()))
    return sorted(path for path in (folder / "module").rglob("*") if path.is_file())


def _read_module(folder: Path) -> Any:
    from biggan_jax.exports.weights.tfhub import read_tfhub

    return read_tfhub(folder / "module").params


READERS: dict[str, Reader] = {
    "pth": Reader(_one("file.pth", lambda: torch_writer.save(ARRAYS, legacy=False)), _read_pth, "zip"),
    "pth_legacy": Reader(_one("file.pth", lambda: torch_writer.save(ARRAYS, legacy=True)), _read_pth),
    "safetensors": Reader(_one("file.safetensors", lambda: safetensors.numpy.save(ARRAYS)), _read_state),
    "samples": Reader(
        _npz(arr_0=RNG.integers(0, 256, (5, 4, 4, 3), np.uint8), arr_1=np.arange(5) % 3), _read_samples, "zip"
    ),
    "latents": Reader(
        _npz(z=RNG.normal(size=(5, 6)).astype(np.float32), labels=np.arange(5) % 3), _read_latents, "zip"
    ),
    "statistics": Reader(
        _npz(mu=np.zeros(3), sigma=np.eye(3), count=np.array(9), network=np.array("n")),
        _read_statistics,
        "zip",
    ),
    "export": Reader(_write_export, _read_export, "json", verified=True),
    "config": Reader(_one("config.json", _config), _read_config, "json"),
    "class_names": Reader(_one("classes.json", lambda: b'["a", "b", "c"]'), _read_class_names, "json"),
    "metrics": Reader(_one("metrics.jsonl", _rows), _read_rows, "json"),
    "sweep": Reader(_write_sweep, _read_sweep, "json"),
    "prepared": Reader(_write_prepared, _read_prepared, "json", verified=True),
    "idx": Reader(_write_idx, _read_idx),
    "scan": Reader(_write_scan, _read_scan),
    "tfhub": Reader(_write_module, _read_module),
}
