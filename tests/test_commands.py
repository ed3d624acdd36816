"""All commands: mistakes are refused before anything heavy is imported, and each help text is complete."""

import re
import subprocess
import sys

import pytest

from biggan_jax.__main__ import commands

COMMANDS = sorted(commands())
REQUIRED = {
    "train": ["--config=imagenet128", "--workdir=x"],
    "export": ["--workdir=x", "--output=y"],
    "import_weights": ["--format=tfhub", "--output=y"],
    "prepare": ["--source=folder:x", "--resolution=8", "--output=y"],
    "plan": ["--config=imagenet128", "--topology=v3:2x2"],
    "describe": ["--config=imagenet128"],
    "sample": ["--weights=x", "--output=y.png"],
}
# Flags of REQUIRED that a command does without, if it has another flag in place of them.
OPTIONAL = {"describe": {"config"}, "sample": {"weights"}, "prepare": {"source", "resolution"}}
WRONG_TYPE = {
    "train": "--config.batch_size=many",
    "evaluate": "--num_samples=many",
    "sample": "--seed=one",
    "export": "--step=last",
    "import_weights": "--passes=few",
    "prepare": "--resolution=large",
    "plan": "--config.ema.decay=high",
    "describe": "--config.data.random_flip=3",
    "playground": "--port=http",
}
HEAVY = ("jax", "flax", "tensorflow", "orbax", "optax", "numpy", "rich", "matplotlib")
REFUSE_HEAVY_IMPORTS = f"""
import importlib.abc, runpy, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise AssertionError(f"{{name}} is imported")
sys.meta_path.insert(0, Refuse())
sys.argv[:] = sys.argv[1:]
runpy.run_module(f"biggan_jax.{{sys.argv[0]}}", run_name="__main__", alter_sys=True)
"""


def run(*words: str, program: tuple[str, ...] = ("-m", "biggan_jax")) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *program, *words], capture_output=True, text=True, timeout=120)


def mistakes(command: str) -> list[str]:
    fields = ["--config.bach_size=3"] if "--config=imagenet128" in REQUIRED.get(command, ()) else []
    return ["--no_such_flag", WRONG_TYPE[command], *fields]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_is_refused_before_anything_heavy_is_imported(command):
    for mistake in mistakes(command):
        words = (*REQUIRED.get(command, ()), mistake)
        done = run(command, *words, program=("-c", REFUSE_HEAVY_IMPORTS))
        assert done.returncode == 2 and done.stderr.startswith("error: "), (mistake, done.stderr)
        name = mistake.strip("-").partition("=")[0].removeprefix("config.")
        assert name in done.stderr and "Traceback" not in done.stderr


def test_a_misspelt_field_after_an_export_is_refused_before_jax_is_imported():
    words = ("train", "--config=finetune:no_export", "--workdir=x", "--config.bach_size=3")
    done = run(*words, program=("-c", REFUSE_HEAVY_IMPORTS))
    assert done.returncode == 2
    assert done.stderr == (
        "error: finetune:no_export has no field config.bach_size; did you mean config.batch_size?\n"
    )


@pytest.mark.parametrize("module", ["biggan_jax", "launch.tpu_pod"])
def test_help_whose_reader_leaves_is_silent(module):
    shell = f'"$0" -m {module} --help | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell, sys.executable], capture_output=True, text=True, timeout=120)
    assert done.stderr == "" and done.returncode == 141


@pytest.mark.parametrize("file", ["missing", ".", "binary"])
@pytest.mark.parametrize("command", ["train", "sample"])
def test_a_flagfile_that_cannot_be_read_is_one_line(tmp_path, command, file):
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    done = run(command, f"--flagfile={tmp_path / file}")
    assert done.returncode == 2 and done.stderr.startswith("error: --flagfile cannot be read: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_a_full_phrase_for_each_flag(command):
    done = run(command, "--help", program=("-c", REFUSE_HEAVY_IMPORTS))
    assert done.returncode == 0 and f"\n  python -m biggan_jax.{command} " in done.stdout
    flags = re.findall(r"^  --(?:\[no\])?(\w+): (.*)$", done.stdout.partition("\nFlags:\n")[2], re.MULTILINE)
    assert flags
    for name, text in flags:
        assert re.match(r"[A-Z<]", text), f"--{name}: {text}"
    assert "None" not in done.stdout and max(map(len, done.stdout.splitlines())) <= 110
    entries = done.stdout.partition("\nFlags:\n")[2].split("\n  --")
    required = {entry.strip(" -").partition(":")[0] for entry in entries if "(required" in entry}
    expected = {flag.strip("-").partition("=")[0] for flag in REQUIRED.get(command, ())}
    assert required == expected - OPTIONAL.get(command, set())


@pytest.mark.parametrize("command", ["train", "evaluate", "sample"])
def test_flags_of_several_processes_come_last_under_their_own_heading(command):
    heading = "\n\nFlags of a run in several processes, which TPU slices and SLURM set by themselves:\n"
    _, found, last = run(command, "--help").stdout.partition(heading)
    assert found and re.findall(r"^  --(\w+)", last, re.MULTILINE) == [
        "coordinator_address",
        "num_processes",
        "process_id",
        "arrival_seconds",
    ]


def test_the_package_lists_its_commands_with_one_line_each():
    done = run()
    assert done.returncode == 0
    listed = re.findall(r"^  python -m biggan_jax\.(\w+) +([A-Z].*\.)$", done.stdout, re.MULTILINE)
    assert [name for name, _ in listed] == COMMANDS
    assert run("--help").stdout == done.stdout


def test_the_package_runs_a_command_and_suggests_one_for_a_misspelt_name():
    done = run("describe", "--config.seed=1")
    assert done.returncode == 2 and done.stderr.startswith("error: --config=NAME is missing")
    done = run("trian")
    assert done.returncode == 2 and done.stderr == "error: 'trian' is not a command; did you mean train?\n"
