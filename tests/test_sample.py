"""The command: every kind of output, what is refused and how, kills, and several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from compiling import xla_flags
from PIL import Image
from tiny_exports import LATENT, SIZE, make_exported
from tiny_workdirs import make_run_config, write_run

from biggan_jax.exports.export_files import write_export
from biggan_jax.sampling.sample_file import read_samples
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import MARGIN

REPOSITORY = Path(__file__).parents[1]
TILE = 96  # on sheets, where 8 px are enlarged

# Several command lines in one process, for importing JAX takes long; each answered by exit code and message.
SEVERAL = """
import json, sys
from absl import flags
from biggan_jax import sample
from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime import processes
processes.join = lambda *_: None  # which can be done once in a process
for words in json.loads(sys.argv[1]):
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    try:
        cli.parse(["sample", *words])
        answer = sample.main([]), ""
    except UserError as error:
        answer = 2, str(error)
    print(json.dumps(answer))
"""
# Parts of 16 images.
SMALL_PARTS = f"""
import runpy
from biggan_jax.sampling import sample_sets
sample_sets.PART_BYTES = 16 * 3 * {SIZE} ** 2
runpy.run_module("biggan_jax.sample", run_name="__main__", alter_sys=True)
"""
# The same, a fifth of a second for each: time to stop it.
SLOW_PARTS = f"""
import time
from biggan_jax.sampling import sample_sets
write = sample_sets.Parts.write
sample_sets.Parts.write = lambda *given: (write(*given), time.sleep(0.2))
{SMALL_PARTS}"""


def environment(**changes):
    flags = xla_flags(devices=1)
    return {**os.environ, "COLUMNS": "110", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **changes}


def run(*arguments, program=("-m", "biggan_jax.sample"), **options):
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment(),
        timeout=300,
        **options,
    )


def answers(*commands):
    done = run(json.dumps([[str(word) for word in words] for words in commands]), program=("-c", SEVERAL))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    write_export(folder, make_exported())
    return folder


@pytest.mark.slow
def test_every_picture_is_written_and_has_the_size_that_was_asked_for(export, tmp_path):
    two = (f"--weights={export}", "--classes=Bag,0", "--truncation=0.5")
    commands = {
        "sheet.png": two,
        "new/folder/four.png": (*two, "--rows=4", "--seed=1"),
        "sweep.png": (f"--weights={export}", "--classes=bag", "--truncations=0.5,0.8,0"),
        "way.PNG": (*two, "--interpolate=class", "--steps=5"),
        "way.gif": (*two, "--interpolate=both", "--steps=3", "--fps=20"),
    }
    found = answers(*((*words, f"--output={tmp_path / name}") for name, words in commands.items()))
    assert found == [[0, ""]] * len(commands)
    counts = {"sheet.png": (8, 2), "new/folder/four.png": (4, 2), "sweep.png": (4, 3), "way.PNG": (1, 5)}
    for name, (rows, columns) in counts.items():
        with Image.open(tmp_path / name) as page:
            size = page.size
        assert columns * TILE < size[0] < (columns + 1) * TILE and rows * TILE < size[1] < (rows + 1) * TILE
    with Image.open(tmp_path / "way.gif") as gif:
        assert gif.n_frames == 4 and gif.info["duration"] == 50
        assert gif.width == 2 * MARGIN + TILE and gif.height > TILE + 3 * MARGIN + 20  # two lines of titles
    assert {path.name for path in tmp_path.iterdir()} == {*counts, "new", "way.gif"} - {"new/folder/four.png"}


@pytest.mark.slow
def test_sets_and_images_of_latents_are_the_generators_own(export, tmp_path):
    z = np.float32(np.random.default_rng(0).normal(size=(3, LATENT)))
    np.savez(tmp_path / "latents.npz", z=z, labels=np.array([0, 2, 1]))
    weights = f"--weights={export}"
    images = (f"--output={tmp_path}/images.npz", "--truncation=0.5", "--batch_size=2")
    set_flags = ("--num_samples=10", "--batch_size=4", "--seed=2")
    assert (
        answers(
            (weights, f"--latents={tmp_path}/latents.npz", *images),
            (weights, *set_flags, f"--output={tmp_path}/all.npz"),
            (
                weights,
                *set_flags,
                f"--output={tmp_path}/two.npz",
                "--classes=ankle boot,0",
                "--truncation=0.8",
            ),
        )
        == [[0, ""]] * 3
    )
    sampler = Sampler(make_exported(), batch_size=4)
    with np.load(tmp_path / "images.npz") as file:
        np.testing.assert_allclose(file["images"], sampler.images(z, [0, 2, 1], 0.5, "float32"), atol=1e-5)
    for name, labels, truncation in (("all", [0, 1, 2], None), ("two", [2, 0], 0.8)):
        images, found = read_samples(tmp_path / f"{name}.npz")
        assert found.tolist() == (labels * 5)[:10]
        wanted = sampler.sample(found, truncation, seed=2)
        assert np.abs(images.astype(int) - wanted).max() <= 1  # this process compiles otherwise


@pytest.mark.slow
def test_a_runs_newest_checkpoint_is_drawn_from_at_the_truncations_asked_for(tmp_path):
    workdir = tmp_path / "run"
    write_run(workdir, make_run_config(), {3: None, 5: None})
    common = (f"--workdir={workdir}", "--classes=0,2")
    names = ["new", "five", "three", "sweep"]
    found = answers(
        (*common, f"--output={tmp_path}/new.png", "--truncation=0.7"),
        (*common, f"--output={tmp_path}/five.png", "--truncation=0.7", "--step=5"),
        (*common, f"--output={tmp_path}/three.png", "--truncation=0.7", "--step=3"),
        (*common, f"--output={tmp_path}/sweep.png", "--truncations=0.7,0"),
        (*common, f"--output={tmp_path}/never.png", "--step=4"),
        (*common, f"--output={tmp_path}/never.png", "--truncation=-1"),
    )
    assert found[:4] == [[0, ""]] * 4
    assert found[4][0] == 2 and "are of the steps 3, 5" in found[4][1]
    assert found[5] == [2, "--truncation=-1: give 0 to 100"]
    new, five, three, _ = ((tmp_path / f"{name}.png").read_bytes() for name in names)
    assert new == five != three
    assert not (tmp_path / "never.png").exists()


@pytest.mark.slow
def test_what_the_generator_cannot_do_is_an_error_that_says_what_it_can(export, tmp_path):
    np.savez(tmp_path / "bad.npz", z=np.zeros((1, LATENT)), labels=np.array([object()]))
    (tmp_path / "file").touch()
    cases = {
        ("--classes=sandals",): "class 'sandals' is unknown; did you mean 'sandal'",
        ("--classes=3",): "class 3: the classes are 0 to 2",
        ("--classes=-1",): "class -1: the classes are 0 to 2",
        ("--classes=",): "--classes= is empty",
        ("--truncation=0.1",): "truncation = 0.1: batch norm has statistics at 0.5, 1, 0",
        ("--truncation=nan",): "--truncation=nan: give 0 to 100",
        ("--truncations=0.5,0.2",): "truncation = 0.2: batch norm has statistics at",
        ("--interpolate=both", "--classes=1"): "--interpolate=both goes from class to class",
        (f"--output={tmp_path}",): "give a file on this machine, .png",
        (f"--output={tmp_path}/file/x.png",): f"would be below {tmp_path}/file, which is a file",
        (f"--output={tmp_path}/x.npz", f"--latents={tmp_path}/none.npz"): "there is no file",
        (f"--output={tmp_path}/x.npz", f"--latents={tmp_path}/bad.npz"): "'labels' cannot be read",
        (f"--output={tmp_path}/bad.npz", f"--latents={tmp_path}/bad.npz"): "exists already: remove it",
        (f"--output={tmp_path}/bad.npz", "--num_samples=3"): "exists already: remove it",
        (f"--weights={tmp_path}",): f"{tmp_path} is no export",
    }
    defaults = (f"--weights={export}", f"--output={tmp_path}/x.png")
    for words, (code, message) in zip(cases, answers(*((*defaults, *words) for words in cases)), strict=True):
        assert code == 2 and cases[words] in message, (words, message)
    assert {path.name for path in tmp_path.iterdir()} == {"bad.npz", "file"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--output=x.png", "give one of --weights=EXPORT and --workdir=DIR (a run)"),
        (
            "--output=x.png --weights=a --workdir=b",
            "give one of --weights=EXPORT and --workdir=DIR (a run)",
        ),
        ("--weights=a", "--output is missing: File to write: .png, .gif, .mp4 or .npz"),
        (
            "--weights=a --output=x.jpg",
            "--output=x.jpg: give a file on this machine, .png, .gif, .mp4 or .npz",
        ),
        (
            "--weights=a --output=gs://b/x.npz",
            "--output=gs://b/x.npz: give a file on this machine, .png, .gif",
        ),
        ("--weights=a --output=x.npz", "--output=x.npz: .npz needs --num_samples or --latents"),
        ("--weights=a --output=x.gif", "--output=x.gif: .gif needs --interpolate"),
        ("--weights=a --output=x.png --num_samples=9", "--output=x.png: --num_samples is written to .npz"),
        ("--weights=a --output=x.npz --interpolate=z", "--interpolate is written to .png or .gif or .mp4"),
        ("--weights=a --output=x.npz --num_samples=9 --latents=y", "give one of --num_samples and --latents"),
        ("--weights=a --output=x.png --step=3", "--step changes nothing without --workdir: leave it out"),
        ("--weights=a --output=x.png --fps=3", "--fps changes nothing for .png: leave it out"),
        (
            "--weights=a --output=x.png --interpolate=z --fps=3",
            "--fps changes nothing for .png: leave it out",
        ),
        (
            "--weights=a --output=x.png --truncations=1 --truncation=1",
            "--truncation changes nothing with --tru",
        ),
        (
            "--weights=a --output=x.npz --num_samples=9 --rows=3",
            "--rows changes nothing with --num_samples: le",
        ),
        (
            "--weights=a --output=x.png --truncations=1,x",
            "--truncations=1,x: give numbers, each 0 to 100, such as 0.2,0.5,1,0",
        ),
        ("--weights=a --output=x.png --truncation=x", "--truncation=x: give a number"),
        ("--weights=a --output=x.npz --num_samples=0", "num_samples"),
        ("--weights=a --output=x.png --interpolate=w", "interpolate"),
        ("--weights=a --output=x.png --nim_samples=3", "nim_samples"),
    ],
)
def test_flags_that_do_not_go_together_are_an_error_in_one_line(flags, message, tmp_path):
    done = run(*flags.split())
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr and "Traceback" not in done.stderr


def test_help_shows_the_examples_without_waiting_for_jax():
    done = run("-X", "importtime", "-m", "biggan_jax.sample", "--help", program=())
    assert done.returncode == 0 and "--num_samples=50000 --output=samples.npz" in done.stdout
    assert "jax.numpy" not in done.stderr and "biggan_jax.runtime.cli" in done.stderr


@pytest.mark.slow
def test_a_set_killed_half_way_goes_on_and_is_the_same_as_one_drawn_at_once(export, tmp_path):
    flags = [f"--weights={export}", "--num_samples=600", "--batch_size=2", "--truncation=1"]
    command = [sys.executable, "-c", SLOW_PARTS, *flags, f"--output={tmp_path}/set.npz"]
    parts = tmp_path / "set.npz.parts"
    for end in (signal.SIGKILL, signal.SIGINT):
        before = len(list(parts.glob("0*.npz")))
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while len(list(parts.glob("0*.npz"))) < before + 2 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(end)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[end], said
        assert not (tmp_path / "set.npz").exists()
    assert b"the same command continues where it was" in said
    again = run(*flags, f"--output={tmp_path}/set.npz", program=("-c", SMALL_PARTS))
    assert again.returncode == 0 and "continuing after" in again.stdout, again.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"set.npz"}
    at_once = run(*flags, f"--output={tmp_path}/once.npz", program=("-c", SMALL_PARTS))
    assert at_once.returncode == 0 and "going on" not in at_once.stdout
    for one, other in zip(*(read_samples(tmp_path / name) for name in ("set.npz", "once.npz")), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_full_disk_is_an_error_with_the_remedy_and_leaves_nothing_half_written(export, tmp_path):
    # Without a compilation cache, which could not be written either.
    limited = "import os, resource; os.environ.pop('JAX_COMPILATION_CACHE_DIR', None)\n"
    limited += f"resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n{SMALL_PARTS}"
    flags = (f"--weights={export}", "--num_samples=40", "--batch_size=2", f"--output={tmp_path}/set.npz")
    done = run(*flags, program=("-c", limited))
    assert done.returncode == 2 and done.stderr.startswith("error: cannot write ")
    assert "File too large; free some space and run the same command again" in done.stderr
    assert [path.name for path in (tmp_path / "set.npz.parts").iterdir()] == ["request.json"]
    again = run(*flags, program=("-c", SMALL_PARTS))
    assert again.returncode == 0 and len(read_samples(tmp_path / "set.npz")[0]) == 40


@pytest.mark.slow
def test_several_processes_draw_the_same_set_as_one(export, tmp_path):
    flags = [f"--weights={export}", "--num_samples=75", "--batch_size=2"]
    alone = run(*flags, f"--output={tmp_path}/one.npz", program=("-c", SMALL_PARTS))
    assert alone.returncode == 0, alone.stderr
    several = [sys.executable, "launch/local.py", "--processes=2", "--devices=2", "--"]
    done = subprocess.run(
        [*several, sys.executable, "-c", SMALL_PARTS, *flags, f"--output={tmp_path}/two.npz"],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for one, other in zip(*(read_samples(tmp_path / name) for name in ("one.npz", "two.npz")), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {path.name for path in tmp_path.iterdir()} == {"one.npz", "two.npz"}
