"""Directories as runs leave them behind, with numbers that tests know."""

import json
from pathlib import Path
from typing import Any

from etils import epath
from PIL import Image

from biggan_jax.config import config_to_json
from biggan_jax.sweeps.sweep_file import Run, read_sweep

SWEEP = """
BASE_CONFIG = "configs/fashion_mnist.py"
def sweep():
    return [
        {"name": "narrow", "model.channels": 8, "total_steps": 100},
        {"name": "wide", "model.channels": 12, "total_steps": 100},
        {"name": "no|ortho", "optimizer.orthogonal_regularization": 0.0, "data.split": "a|b",
         "total_steps": 100},
        {"name": "later", "seed": 1, "total_steps": 100},
    ]
"""
CONDITIONS = {
    "weights": "average (EMA)",
    "statistics": {"mode": "standing", "passes": 20, "batch_size": 64},
    "truncation": 0.0,
    "num_samples": 2_000,
    "resolution": 32,
    "network": {"network": "classifier", "weights_hash": "0123456789ab"},
    "reference": {"source": "fashion_mnist_10k", "training": "garments", "images": 8_000},
}


def make_runs(folder: Path) -> tuple[list[Run], epath.Path]:
    """narrow and wide are judged, no|ortho has failed at step 60, later has not begun."""
    (folder / "sweep.py").write_text(SWEEP)
    runs, workdir = read_sweep(str(folder / "sweep.py")), epath.Path(folder / "sweep")
    write_run(runs[0], workdir, fid={50: 30.0, 100: 20.0}, judged={"fid": 21.0, "is": 3.0, "recognised": 0.5})
    write_run(runs[1], workdir, fid={50: 9.0, 100: 12.5}, judged={"fid": 12.0, "is": 4.0, "density": 1.25})
    write_run(runs[2], workdir, fid={50: 40.0}, judged=None, step=60)
    (workdir / runs[2].name / "log.txt").write_text(
        "---- first start\nerror: a disk was full\n---- second start\nstep 60/100\nerror: D's loss is 0\n"
    )
    return runs, workdir


def write_run(
    run: Run,
    workdir: epath.Path,
    fid: dict[int, float],
    judged: dict[str, float] | None,
    step: int = 100,
    **conditions: Any,
) -> None:
    """A run at `step`, with FIDs of some of its steps, and with scores of a judgement of the last."""
    directory = Path(workdir / run.name)
    (directory / "checkpoints" / f"{step:08d}").mkdir(parents=True)
    (directory / "checkpoints" / f"{step + 10:08d}.orbax-checkpoint-tmp").mkdir()  # not whole
    (directory / "config.json").write_text(json.dumps(config_to_json(run.config)))
    rows = [
        {"step": at, "d_loss": 1 / at, "g_loss": 0.5, "g_gradient_norm": None}
        | ({"fid@classifier": fid[at], "is@classifier": 100 / fid[at]} if at in fid else {})
        for at in range(10, step + 1, 10)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "samples").mkdir()
    for name, width in {"real": 100, "00000050": 50, f"{step:08d}": step}.items():
        Image.new("RGB", (width, 20)).save(directory / "samples" / f"{name}.png")
    if judged is not None:
        scores = {f"{name}@classifier": {"value": value} for name, value in judged.items()}
        report = CONDITIONS | {"step": step, "scores": scores} | conditions
        (directory / "evaluation.json").write_text(json.dumps(report))
