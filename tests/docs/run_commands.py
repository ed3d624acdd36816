"""Runs every command of the documentation in a fresh copy of the repository, at small sizes (make docs-test).

  python tests/docs/run_commands.py
  python tests/docs/run_commands.py --page=docs/training.md --page=docs/sampling.md
  python tests/docs/run_commands.py --list

Pages come in the order of the site's navigation, the README last: a page uses the results of those before.
Sizes are reduced by flags that follow a command: those in `REDUCTIONS` for its module, then those that a
comment before the block names (documented_commands.py). Skipped blocks are listed with the reason.

Exit codes: 0 if every command succeeded, 1 otherwise.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from documented_commands import ROOT, Block, blocks, modules, pages
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1]))
import compiling  # noqa: E402

SECONDS = 600  # for one command
REDUCTIONS = {
    "biggan_jax.train": "--config.total_steps=4 --config.batch_size=8 --config.log_every=1 "
    "--config.sample_every=4 --config.checkpoint_every=4 --config.collapse.check_every=0 "
    "--config.sampling.standing_passes=2 --config.sampling.samples_per_class=2",
    "biggan_jax.evaluate": "--num_samples=100 --reference_images=400",
}
PICTURES = 100  # of a class
SHAPES = ("circle", "square", "stripe")
TINY = """from configs.fashion_mnist import get_config as demo


def get_config():
    config = demo()
    config.batch_size = 8
    config.total_steps = 4
    config.sample_every = config.checkpoint_every = 4
    config.sampling.standing_passes = 2
    return config
"""


class Outcome(NamedTuple):
    """The result of one command: `state` is ok, FAILED, skipped or written."""

    place: str
    command: str
    seconds: float
    state: str
    remark: str = ""


def main() -> int:
    """Runs the commands and prints a table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="append", help="page to take commands from; may be given again")
    parser.add_argument("--folder", help="folder to run in, which is kept; default: a temporary one")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of one command")
    parser.add_argument("--list", action="store_true", help="print the commands as they would run")
    arguments = parser.parse_args()
    chosen = [Path(page).resolve() for page in arguments.page] if arguments.page else pages()
    taken = [block for page in chosen for block in blocks(page)]
    if arguments.list:
        for block in taken:
            for command in block.commands:
                text = f"skip: {block.skip}" if block.skip else reduced(command, block)
                print(f"{block.page}:{block.line}  {text}")
        return 0
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="docs-test-")).resolve()
    started = time.monotonic()
    try:
        fill(folder)
        outcomes = [outcome for block in taken for outcome in run(block, folder, arguments.seconds)]
    finally:
        if not arguments.folder:
            shutil.rmtree(folder, ignore_errors=True)
    return report(outcomes, time.monotonic() - started)


def fill(folder: Path) -> None:
    """Copies the repository's files as they are now, and adds the pictures and a small config."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    make_pictures(folder / "pictures")
    (folder / "tiny.py").write_text(TINY)


def make_pictures(folder: Path, count: int = PICTURES) -> None:
    """Writes JPEGs of three classes, of several sizes and colours."""
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            width, height = rng.integers(80, 120, 2).tolist()
            image = Image.new("RGB", (width, height), tuple(rng.integers(0, 90, 3).tolist()))
            pen, colour = ImageDraw.Draw(image), tuple(rng.integers(120, 256, 3).tolist())
            x, y, size = *rng.integers(10, 40, 2).tolist(), int(rng.integers(20, 40))
            if shape == "circle":
                pen.ellipse((x, y, x + size, y + size), colour)
            elif shape == "square":
                pen.rectangle((x, y, x + size, y + size), colour)
            else:
                pen.rectangle((0, y, width, y + size // 2), colour)
            image.save(folder / shape / f"{number:04}.jpg", quality=90)


def reduced(command: str, block: Block) -> str:
    """Returns the command with the flags that make it small."""
    if block.language == "python" or command.startswith("export "):
        return command
    named = modules(command)
    flags = [REDUCTIONS.get(named[-1], "") if named else "", block.reduce]
    return " ".join(filter(None, [command, *flags]))


def run(block: Block, folder: Path, limit: float) -> list[Outcome]:
    """Runs the commands of a block one after another; what they export holds until the end of the block."""
    place = f"{block.page}:{block.line}"
    if block.skip:
        return [shown(Outcome(place, command, 0, "skipped", block.skip)) for command in block.commands]
    if block.file:
        (folder / block.file).write_text(block.code)
        return [shown(Outcome(place, f"content of {block.file}", 0, "written"))]
    outcomes, exports = [], []
    for command in block.commands:
        if command.startswith("export "):
            exports.append(command)
        else:
            words = [sys.executable, "-c", command] if block.language == "python" else None
            script = "\n".join(["set -euo pipefail", *exports, reduced(command, block)])
            outcomes.append(shown(run_one(place, command, words or ["bash", "-c", script], folder, limit)))
    return outcomes


def run_one(place: str, command: str, words: list[str], folder: Path, limit: float) -> Outcome:
    """Runs one command in the folder, for at most `limit` seconds."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "HOME": str(folder / "home"),
        "BIGGAN_CACHE": str(folder / "home" / ".cache" / "biggan_jax"),
    }
    environment.setdefault("JAX_PLATFORMS", "cpu")
    environment.setdefault("XLA_FLAGS", compiling.QUICKLY)
    environment |= compiling.cache(str(folder / "home" / ".cache" / "jax"))
    started = time.monotonic()
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a group, which ends as one
    )
    try:
        output, code = process.communicate(timeout=limit)[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, code = process.communicate()[0], f"none within {limit:g} s"
    seconds = time.monotonic() - started
    if code == 0:
        return Outcome(place, command, seconds, "ok")
    tail = "\n".join(output.decode(errors="replace").splitlines()[-25:])
    return Outcome(place, command, seconds, "FAILED", f"exit code {code}\n{tail}")


def shown(outcome: Outcome) -> Outcome:
    """Prints an outcome as soon as it is known."""
    command = " ".join(outcome.command.split())
    short = command if len(command) <= 90 else f"{command[:87]}..."
    remark = f"  ({outcome.remark})" if outcome.state == "skipped" else ""
    print(f"{outcome.seconds:6.1f} s  {outcome.state:8}{outcome.place:28}{short}{remark}", flush=True)
    if outcome.state == "FAILED":
        print(outcome.remark, flush=True)
    return outcome


def report(outcomes: list[Outcome], seconds: float) -> int:
    """Prints the counts and the failures; returns the exit code."""
    states = [outcome.state for outcome in outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"\n{len(outcomes)} commands in {seconds:.0f} s: {counts}")
    failed = [outcome for outcome in outcomes if outcome.state == "FAILED"]
    for outcome in failed:
        print(f"FAILED {outcome.place}  {' '.join(outcome.command.split())}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
