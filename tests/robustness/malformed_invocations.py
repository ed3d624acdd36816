"""Malformed command lines: thousands of values for every field of the config, and whole commands.

  python tests/robustness/malformed_invocations.py
  python tests/robustness/malformed_invocations.py --values=500 --commands=5

"Refused" is a trial that ended with a message of the flag or field, exit code 2 and no traceback; "survived"
one whose value is within reason after all. A trial fails if it hangs, if it shows a traceback, or if a number
is accepted that float32 or int32 cannot hold.
"""

import argparse
import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from tally import Tally

from biggan_jax.config import FIELDS, validate
from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_ERROR, UserError

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10  # of processor time that a refusal of a value may take
SECONDS_OF_COMMAND = 20  # of a command, which may have to import JAX and TensorFlow
LONGEST_LINE = 1_000  # characters of a message
LARGEST_INTEGER, LARGEST_NUMBER = 2**32, 1e9
RANDOM_VALUES = 20  # for each field, besides those below

NUMBERS = """
0 -0 -1 1 2 3 7 10 1e3 1000 1e9 1000000000 1e20 100000000000000000000 -1e20 1e30 1e38 1e39 1e308 1e400
2147483647 2147483648 4294967295 4294967296 9223372036854775808 nan NaN -nan inf -inf infinity 0.5 -0.5
0.999999999999 1e-30 1e-46 1e-320 True False None 0x10 0b1 1_000 1,000 1.000,5 ١٢ １２ ½ 1e 1e+ +1 ++1 1+1
10**3 0/0 1;2 [1] (1) '1'
""".split()
TUPLES = ["(", "()", "(1,)", "(0,0)", "(1e3,)", "(-1,2)", "(True,)", "[]", "(" + "1," * 10_000 + ")"]
TEXTS = ["", " ", "~", "\n", "a\nb", "\t", "'", '"', "9" * 5_000, "x" * 100_000, "\udcff", "é", "😀", "null"]
TEXTS += ["$(id)", "%s%n", "{0}", "../..", "folder:", "tfds:", ":", "::", "folder:~", "prepared:"]
TEXTS += ["train[", "train[:0%]", "train[:1e9%]"]


def is_absurd(value: object) -> bool:
    """Returns whether no network can be trained with a number, whatever the field is."""
    if isinstance(value, tuple):
        return len(value) > 64 or any(map(is_absurd, value))
    if isinstance(value, int):
        return abs(value) > LARGEST_INTEGER
    if isinstance(value, float):
        single = float(np.float32(value))
        return not math.isfinite(single) or abs(single) > LARGEST_NUMBER or (single == 0) != (value == 0)
    return False


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raises TimeoutError when the block takes more than `SECONDS` of processor time."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def override(field: str, value: str) -> str:
    """Parses and validates `--config.FIELD=VALUE`; returns "refused", "survived" or what is wrong."""
    sys.argv = ["train", "--config=imagenet128", f"--config.{field}={value}"]
    parsed = flags.FlagValues()
    cli.define_config(parsed)
    try:
        with limited(), np.errstate(over="ignore", under="ignore"):
            cli.parse(sys.argv, parsed)
            validate(parsed.config)
    except UserError as error:
        text = str(error)
        if max(map(len, text.splitlines())) > LONGEST_LINE and len(value) < LONGEST_LINE:
            return f"a line of {max(map(len, text.splitlines())):,} characters"
        return "refused" if "config." in text else f"the message names no field: {text[:200]}"
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    accepted = parsed.config
    for key in field.split("."):
        accepted = accepted[key]
    return f"accepted as {accepted!r:.100}" if is_absurd(accepted) else "survived"


def values(rng: random.Random) -> Iterator[str]:
    """Yields values for one field."""
    yield from NUMBERS
    yield from TUPLES
    yield from TEXTS
    for _ in range(RANDOM_VALUES // 2):
        yield repr(rng.uniform(-10, 10) * 10.0 ** rng.randint(-60, 60))
        yield str(rng.randint(-1, 1) * rng.getrandbits(rng.randint(1, 200)))


def command_lines(folder: Path) -> Iterator[Sequence[str]]:
    """Yields command lines that must be refused; `folder` has a file, and an empty folder."""
    file, empty, huge = folder / "file", folder / "empty", "n" * 300
    below, deep, latin = file / "below", folder / ("d/" * 3_000), os.fsdecode(bytes(folder) + b"/\xff")
    train = ("biggan_jax.train", "--config=fashion_mnist")
    sample = ("biggan_jax.sample", f"--weights={empty}")
    run = (*train, f"--workdir={folder}/run")
    for path in ("", " ", below, folder / huge, deep, latin, "~nobody_here/x", "s3://b/x", "gs://", file):
        yield *train, f"--workdir={path}"
        yield "biggan_jax.export", f"--workdir={path}", f"--output={folder}/out"
    for path in ("", below, folder / huge, latin, empty, file):
        yield "biggan_jax.sample", f"--weights={path}", f"--output={folder}/x.png"
        yield "biggan_jax.evaluate", f"--samples={path}"
        yield "biggan_jax.playground", f"--weights={path}"
    for path in ("", below, folder / huge, latin):
        yield "biggan_jax.prepare", f"--source=folder:{empty}", "--resolution=8", f"--output={path}"
        yield *sample, f"--output={path}"
    for value in ("nan", "inf", "-1", "1e30", "1e400", "", "half", "0.5,nan"):
        yield *sample, f"--output={folder}/x.png", f"--truncation={value}"
        yield *sample, f"--output={folder}/x.png", f"--truncations={value}"
    for value in ("4294967296", "-1", "1e20", "True", "", "nan", "9" * 5_000):
        yield *sample, f"--output={folder}/x.png", f"--seed={value}"
        yield *sample, f"--output={folder}/x.npz", f"--num_samples={value}"
    yield *sample, f"--output={folder}/x.png", "--rows=1000000000"
    yield *sample, f"--output={folder}/x.gif", "--interpolate=z", "--steps=1000000000000"
    yield *run, "--config.total_steps=10000000000"
    yield *run, "--config.optimizer.g_learning_rate=1e30"
    yield *run, "--config.model.epsilon=1e30"
    yield *run, "--config.sampling.truncation=1e30"
    yield *run, "--config.data.source="
    yield *run, "--config.data.source=tfds:mnist:9.9.9"
    yield *run, "--config.data.source=tfds:no_such_set"
    yield *run, "--config.data.source=folder:", "--config.data.split=train[:0%]"
    yield *run, "--config.data.split=train[:0%]"
    yield *run, "--config.data.split=train[9:3]"
    yield *run, f"--config.data.source=folder:{empty}"
    yield *run, f"--config.data.source=folder:{below}"
    yield *run, f"--config.data.source=prepared:{empty}"
    yield *run, f"--config.init_from={empty}"
    yield *run, f"--config.init_from={folder / huge}"
    yield *run, "--num_processes=1000000000"
    yield *run, "--coordinator_address=", "--num_processes=2", "--process_id=0"
    yield *run, "--coordinator_address=localhost:99999999", "--num_processes=2", "--process_id=0"
    yield *train[:1], f"--config=finetune:{empty}", f"--workdir={folder}/run", "--config.bach_size=3"
    for name in ("", "~nobody_here", huge, "finetune:", file, empty, latin):
        yield "biggan_jax.describe", f"--config={name}"
    for name in (folder / "missing", empty, file, folder / "binary", folder / "itself", ""):
        yield *train, f"--flagfile={name}"  # without the required --workdir
    yield "biggan_jax.plan", "--config=imagenet128", "--topology="
    yield "biggan_jax.plan", "--config=imagenet128", "--topology=v3:100000x100000"
    yield "biggan_jax.plan", "--config=imagenet128", f"--topology=v3:{'9' * 5_000}x1"
    yield "biggan_jax.prepare", "--source=", "--resolution=8", f"--output={folder}/out"
    yield "biggan_jax.prepare", "--source=folder:x", "--resolution=1e9", f"--output={folder}/out"
    yield (
        "biggan_jax.prepare",
        "--source=folder:x",
        "--resolution=8",
        "--max_refused=nan",
        f"--output={folder}/o",
    )
    yield "biggan_jax.import_weights", "--format=tfhub", f"--output={folder}/out", "--epsilon=nan", "x"
    yield "biggan_jax.import_weights", "--format=tfhub", f"--output={folder}/out", ""
    yield "biggan_jax.import_weights", "--format=biggan-pytorch", f"--output={folder}/out", latin
    yield "biggan_jax.import_weights", "--format=huggingface", f"--output={below}/out", str(empty)
    yield "biggan_jax.playground", f"--weights={empty}", "--port=65536"
    yield "biggan_jax.playground", f"--weights={empty}", "--host="
    yield "launch.local", "--processes=1000000000", "--", "true"
    yield "launch.local", "--processes=", "--", "true"
    yield "launch.local", "--", "/no/such/command"
    yield "launch.tpu_pod", "status", "--name=x", "--poll_seconds=nan"
    yield "launch.tpu_pod", "status", "--name=", "--poll_seconds=1"
    yield "launch.tpu_pod", "status", f"--name={huge}"
    yield "launch.sweep", "--sweep=", f"--workdir={folder}/sweep"
    yield "launch.sweep", f"--sweep={empty}", f"--workdir={folder}/sweep"
    yield "launch.sweep", "--sweep=ablation_fashion_mnist", f"--workdir={below}"


def run_command(words: Sequence[str], folder: Path) -> str:
    """Runs a command; returns "refused" or what is wrong."""
    before = os.times()
    try:
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "BIGGAN_CACHE": str(folder / "cache")},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=6 * SECONDS_OF_COMMAND,  # of the clock, for a busy machine
        )
    except subprocess.TimeoutExpired:
        return "it hangs"
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    if "Traceback" in done.stderr:
        return f"a traceback: {done.stderr.splitlines()[-1][:200]}"
    if done.returncode != EXIT_ERROR:
        return f"exit code {done.returncode}: {(done.stderr or done.stdout)[-200:]}"
    if not any(line.startswith("error: ") for line in done.stderr.splitlines()):
        return f"no error in its output: {done.stderr[:200]}"
    return "refused" if seconds < SECONDS_OF_COMMAND else f"it took {seconds:.0f} s of processor time"


def count(tally: Tally, name: str, outcome: str) -> None:
    """Counts a trial by its outcome."""
    if outcome in ("refused", "survived"):
        getattr(tally, outcome)()
    else:
        tally.failed(f"{name[:200]!r}: {outcome}")


def main(most_values: int | None = None, most_commands: int | None = None) -> Tally:
    """Tries values of all fields, and whole commands; arguments limit their numbers."""
    tally, rng = Tally("malformed invocations"), random.Random(0)
    trials = [(field, value) for field in FIELDS for value in values(rng)]
    if most_values is not None:
        trials = rng.sample(trials, most_values)
    words = sys.argv
    for field, value in trials:
        count(tally, f"--config.{field}={value}", override(field, value))
    sys.argv = words
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty").mkdir()
        (folder / "file").write_text("--")
        (folder / "binary").write_bytes(bytes(range(128, 256)))
        (folder / "itself").write_text(f"--flagfile={folder}/itself\n")
        lines = list(command_lines(folder))
        if most_commands is not None:
            lines = rng.sample(lines, most_commands)
        for line in lines:
            shown = " ".join(map(str, line)).replace(name, "…").encode(errors="replace").decode()
            count(tally, shown, run_command(line, folder))
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--values", type=int, help="number of values (default: all)")
    parser.add_argument("--commands", type=int, help="number of whole commands (default: all)")
    options = parser.parse_args()
    sys.exit(main(options.values, options.commands).report())
