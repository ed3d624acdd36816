"""Commands of the package on a few pixels, and digests of what they write.

The digest leaves out what may differ between two runs that were not stopped: rates, times, and files that
show them.
"""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, by hand
import compiling  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SIZE, CLASSES, IMAGES_PER_CLASS = 8, ("a", "b", "c"), 40
RATES = ("steps_per_second", "images_per_second")
SECONDS = 300.0
MODEL = {
    "model.resolution": SIZE,
    "model.channels": 4,
    "model.generator_channels": "(1,1)",
    "model.discriminator_channels": "(1,1)",
    "model.attention_resolution": 0,
    "model.num_classes": len(CLASSES),
    "model.latent_dim": 6,
    "model.class_embedding_dim": 4,
    "batch_size": 8,
    "sampling.standing_passes": 2,
    "sampling.batch_size": 12,
}
RUN = MODEL | {
    "total_steps": 12,
    "log_every": 2,
    "sample_every": 6,
    "checkpoint_every": 2,
    "evaluation.every": 4,
    "evaluation.network": "pixels:features",
    "evaluation.num_samples": 30,
    "checkpoints.best": 1,
    "checkpoints.metric": "fid@pixels:features",
}


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of the package.

    Attributes:
      name: Name of the command.
      arguments: Function of the folder of inputs and the folder to write to, to the command's arguments.
      digest: Function of the folder to write to, to the digest of each thing in it.
      lock: Lock file in the folder to write to.
    """

    name: str
    arguments: Callable[[Path, Path], list[str]]
    digest: Callable[[Path], dict[str, Any]]
    lock: str

    def start(self, inputs: Path, folder: Path) -> subprocess.Popen[str]:
        """Starts the command in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", f"biggan_jax.{self.name}", *self.arguments(inputs, folder)],
            cwd=folder,
            env=_environment(inputs),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, inputs: Path, folder: Path) -> subprocess.CompletedProcess[str]:
        """Runs the command to its end."""
        with self.start(inputs, folder) as process:
            out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def make_inputs(inputs: Path, with_run: bool) -> None:
    """Writes pictures, and a trained run if the commands to try need one."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (inputs / "pictures" / name).mkdir(parents=True)
        for number in range(IMAGES_PER_CLASS):
            pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(inputs / "pictures" / name / f"{number:03}.png")
    if with_run:
        done = COMMANDS["train"].run(inputs, inputs)
        if done.returncode:
            raise RuntimeError(done.stderr)


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Returns the names of the things that differ between two digests."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def _environment(inputs: Path) -> dict[str, str]:
    places = [ROOT, TESTS, TESTS / "training"]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": compiling.xla_flags(1),
        "BIGGAN_CACHE": str(inputs / "cache"),
        "JAX_COMPILATION_CACHE_DIR": str(inputs / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _train(inputs: Path, folder: Path) -> list[str]:
    fields = RUN | {"data.source": f"folder:{inputs / 'pictures'}"}
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["--config=fashion_mnist", f"--workdir={folder / 'run'}", *overrides]


def _evaluate(inputs: Path, folder: Path) -> list[str]:
    return [
        f"--workdir={inputs / 'run'}",
        f"--output={folder / 'evaluated'}",
        "--network=pixels:features",
        "--num_samples=60",
        "--truncations=0.5",
    ]


def _prepare(inputs: Path, folder: Path) -> list[str]:
    return [f"--source=folder:{inputs / 'pictures'}", f"--resolution={SIZE}", f"--output={folder / 'set'}"]


def _export(inputs: Path, folder: Path) -> list[str]:
    return [f"--workdir={inputs / 'run'}", f"--output={folder / 'export'}", "--truncations=0.5,0"]


def _sample(inputs: Path, folder: Path) -> list[str]:
    return [
        f"--workdir={inputs / 'run'}",
        f"--output={folder / 'set.npz'}",
        "--num_samples=600",
        "--batch_size=20",
    ]


def _files(folder: Path) -> dict[str, Any]:
    """Returns SHA-256 of each file, by its path; lock files that a killed process left do not count."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def _run_digest(folder: Path) -> dict[str, Any]:
    """Returns the digest of a run: its rows without rates, its samples, and its checkpoints' content."""
    from etils import epath

    from biggan_jax.training.run.checkpoints import Checkpoints
    from biggan_jax.training.run.saved_run import saved_config
    from biggan_jax.training.step.state import abstract_state

    run = folder / "run"
    config = saved_config(epath.Path(run))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    digest = {f"samples/{name}": value for name, value in _files(run / "samples").items()}
    digest["rows"] = [{name: row[name] for name in row if name not in RATES} for row in rows]
    checkpoints = Checkpoints(run / "checkpoints", config, read_only=True)
    for step in checkpoints.steps:
        digest[f"checkpoint {step}"] = _state_digest(checkpoints.restore(step, abstract_state(config)).state)
    digest["best"] = checkpoints.best
    checkpoints.close()
    return digest


def _state_digest(state: Any) -> str:
    import jax

    content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))
    return hashlib.sha256(content).hexdigest()


COMMANDS = {
    command.name: command
    for command in (
        Command("train", _train, _run_digest, "run/.train.lock"),
        Command("prepare", _prepare, _files, "set/.lock"),
        Command("export", _export, _files, ".export.lock"),
        Command("sample", _sample, _files, ".set.npz.lock"),
        Command("evaluate", _evaluate, _files, "evaluated/.evaluate.lock"),
    )
}
