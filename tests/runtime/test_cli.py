"""Mistakes at the keyboard get one clear line and exit code 2; bugs keep their traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import UserError

REPOSITORY = Path(__file__).parents[2]
CIFAR = str(REPOSITORY / "configs/cifar10.py")


@pytest.fixture
def parse(monkeypatch):
    """Parses words as a command with `--config` and `--json` would; returns the flags."""

    def parse(*words: str) -> flags.FlagValues:
        values = flags.FlagValues()
        cli.define_config(values)
        flags.DEFINE_bool("json", False, "as JSON", flag_values=values)
        monkeypatch.setattr(sys, "argv", ["command", *words])  # ml_collections looks for overrides here
        cli.parse(sys.argv, values)
        return values

    return parse


@pytest.fixture
def complaint(parse):
    def complaint(*words: str) -> str:
        with pytest.raises(UserError) as error:
            parse(*words)
        return str(error.value)

    return complaint


@pytest.fixture
def config_file(tmp_path):
    def write(text: str) -> str:
        (tmp_path / "own.py").write_text(text)
        return str(tmp_path / "own.py")

    return write


def test_overrides_reach_the_config(parse):
    table = "--config.model.generator_channels=(8,4,2,1)"
    values = parse(f"--config={CIFAR}", table, "--config.seed", "3", "--noconfig.data.random_flip", "--json")
    assert values.config.model.generator_channels == (8, 4, 2, 1)
    assert values.config.seed == 3
    assert values.config.data.random_flip is False
    assert values.config.batch_size == 50
    assert values.config.is_locked and values.json


def test_config_of_ones_own_making_is_locked_too(parse, config_file):
    own = config_file(
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': 1})"
    )
    assert parse(f"--config={own}").config.is_locked


def test_config_file_can_take_an_argument(parse, config_file):
    own = config_file(
        "from biggan_jax.config import default_config\n"
        "def get_config(seed):\n"
        "    config = default_config()\n"
        "    config.seed = int(seed)\n"
        "    return config\n"
    )
    assert parse(f"--config={own}:7").config.seed == 7


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--config.bach_size=3", "config.batch_size"),
        ("--config.model.latentdim=3", "config.model.latent_dim"),
        ("--config.resolution=64", "config.model.resolution"),
        ("--config.epsilon=1", "config.model.epsilon or config.optimizer.epsilon"),
        ("--config.optimiser.beta1=0.5", "config.optimizer.beta1"),
        ("--config.optimizer.beta=0.5", "config.optimizer.beta1 or config.optimizer.beta2"),
        ("--noconfig.data.randomflip", "config.data.random_flip"),
        ("--config.model.generator_channels[0]=1", "config.model.generator_channels"),
    ],
)
def test_misspelt_field_names_the_one_that_was_meant(complaint, words, meant):
    field = words.partition("=")[0].partition("config.")[2]
    expected = f"{CIFAR} has no field config.{field}; did you mean {meant}?"
    assert complaint(f"--config={CIFAR}", words) == expected


def test_field_like_no_other_gets_a_list_of_those_there_are(complaint):
    ema = complaint(f"--config={CIFAR}", "--config.ema.tau=0.5")
    assert ema == f"{CIFAR} has no field config.ema.tau; its fields are decay, start_step"
    assert " batch_size, checkpoint_every, checkpoints," in complaint(f"--config={CIFAR}", "--config.=1")
    assert "describe --fields lists all fields" in complaint(f"--config={CIFAR}", "--config.xyz.zyx=1")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--config.batch_size=abc", "--config.batch_size=abc: give a whole number"),
        ("--config.batch_size=2.5", "--config.batch_size=2.5: give a whole number"),
        ("--config.ema.decay=high", "--config.ema.decay=high: give a number"),
        ("--config.data.random_flip=3", "--config.data.random_flip=3: give true or false"),
        (
            "--config.model.generator_channels=(8,4",
            "--config.model.generator_channels=(8,4: give a tuple of whole",
        ),
        ("--config.model=3", "--config.model=3: Failed to parse"),
        ("--config.seed", "Missing value for flag --config.seed"),
        ("--jsno", "Unknown command line flag 'jsno'. Did you mean: json ?"),
        ("json", "'json' is not a flag: write --name=value"),
    ],
)
def test_wrong_value_or_flag_is_named_with_what_to_give(complaint, words, says):
    assert says in complaint(f"--config={CIFAR}", words)


@pytest.mark.parametrize("words", [[], ["--config.seed=3"], ["--json"]])
def test_no_config_says_where_there_are_some(complaint, words):
    assert complaint(*words).startswith("--config=NAME is missing: choose one of cifar10, fashion_mnist, ")


def test_override_before_the_file_says_so(complaint):
    assert "--config.seed=3 in argv before a value for --config" in complaint(
        "--config.seed=3", f"--config={CIFAR}"
    )


def test_missing_file_is_named_with_the_folder_it_was_sought_in(complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint("--config=nothing.py").startswith(
        f"--config=nothing.py: no file 'nothing.py' in {tmp_path}, and no config of this name"
    )
    assert "no file" in complaint(f"--config={tmp_path}")


@pytest.mark.parametrize(
    "name", ["imagenet256", "imagenet256.py", "configs/imagenet256.py", "configs/imagenet256"]
)
def test_shipped_configs_are_found_by_name_from_anywhere(parse, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert parse(f"--config={name}", "--config.seed=3").config.model.resolution == 256


def test_a_file_of_ones_own_comes_before_a_shipped_one_of_its_name(parse, config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10.py").write_text(
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'mine': 1})"
    )
    assert parse("--config=cifar10.py").config.mine == 1
    assert parse("--config=cifar10").config.batch_size == 50


def test_a_shipped_config_can_take_an_argument(complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint("--config=finetune").startswith("--config=finetune: ")
    assert "nowhere" in complaint("--config=finetune:nowhere")


def test_misspelt_config_gets_the_most_similar_name_and_all_names(complaint):
    message = complaint("--config=imagenet_128")
    assert "; did you mean imagenet128? The shipped ones are cifar10, fashion_mnist, finetune, " in message
    assert "did you mean" not in complaint("--config=elsewhere/cifar10.toml/x")
    assert "did you mean imagenet128_deep?" in complaint("--config=configs/imagenet128_dep.py")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def get_config(:", ["SyntaxError", "line 1"]),
        ("import no_such_module", ["line 1: ModuleNotFoundError", "no_such_module"]),
        ("x = 1", ["defines no function get_config()"]),
        ("def get_config():\n    pass", ["must return a ConfigDict", "NoneType", "default_config()"]),
        ("def get_config():\n\n    return 1 / 0", ["line 3: ZeroDivisionError"]),
        ("def get_config(size):\n    pass", ["TypeError", "size"]),
        (
            "from biggan_jax.config import default_config\n"
            "def get_config():\n    config = default_config()\n    config.bach_size = 3",
            ['line 4: AttributeError: Key "bach_size" does not exist', 'Did you mean "batch_size"'],
        ),
        (
            "from biggan_jax.config import default_config\n"
            "def get_config():\n    config = default_config()\n    config.batch_size = 'many'",
            ["line 4: TypeError", "batch_size"],
        ),
    ],
)
def test_broken_config_file_is_placed_by_line(complaint, config_file, text, says):
    own = config_file(text)
    message = complaint(f"--config={own}")
    assert message.startswith(f"--config={own}: ")
    assert all(part in message for part in says)
    assert "Other fields present" not in message


def test_command_without_a_config_needs_none():
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder", flag_values=values)
    assert cli.parse(["command", "--workdir=here"], values) == ["command"]
    assert values.workdir == "here"
    with pytest.raises(UserError, match="Unknown command line flag 'config'"):
        cli.parse(["command", "--config=x"], values)


def test_missing_required_flag_says_what_it_is_for():
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values, required=True)
    with pytest.raises(UserError, match="^--workdir is missing: folder of the run$"):
        cli.parse(["command"], values)


def command(*words: str, code: str = "") -> subprocess.CompletedProcess:
    program = ["-c", code] if code else ["-m", "biggan_jax.describe"]
    return subprocess.run(
        [sys.executable, *program, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )


def test_user_errors_end_a_command_with_code_2_and_no_traceback():
    misspelt = command(f"--config={CIFAR}", "--config.bach_size=3")
    impossible = command(f"--config={CIFAR}", "--config.d_steps=0", "--config.model.resolution=100")
    assert misspelt.returncode == impossible.returncode == 2
    assert misspelt.stdout == impossible.stdout == ""
    assert (
        misspelt.stderr == f"error: {CIFAR} has no field config.bach_size; did you mean config.batch_size?\n"
    )
    assert impossible.stderr.startswith(
        "error: the config has 2 problems:\n  config.d_steps = 0: give 1 to 1,000, such as 2\n"
    )
    assert impossible.stderr.count("\n") == 3


def test_bugs_keep_their_traceback():
    result = command(
        code="from biggan_jax.runtime import cli\ndef main(argv): raise ValueError('a bug')\ncli.run(main)"
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "ValueError: a bug" in result.stderr


PRINT = "def main(argv): print('much' * 100_000)"
TABLE = "import rich.console\ndef main(argv): rich.console.Console().print('much ' * 100_000)"
LITTLE = "def main(argv): print('little')"  # which waits in the buffer until the end
OTHERS = "import os\ndef main(argv):\n    r, w = os.pipe()\n    os.close(r)\n    os.write(w, b'x')"


def piped(code: str, reader: str, *words: str, unbuffered: str = "") -> subprocess.CompletedProcess:
    """`python -c code words | reader`, and the exit code of the first."""
    program = f"from biggan_jax.runtime import cli\n{code}\ncli.run(main)"
    pipe = f'"$@" | {reader}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", pipe, "bash", sys.executable, "-c", program, *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("code", "words"), [(PRINT, ()), (TABLE, ()), (LITTLE, ()), (LITTLE, ("--help",))], ids=str
)
def test_a_command_whose_reader_leaves_is_silent(code, words, unbuffered):
    done = piped(code, "true", *words, unbuffered=unbuffered)  # it ends long before Python has started
    assert done.stderr == "" and done.returncode == 141


def test_a_pipe_that_is_not_standard_output_may_not_break_silently():
    done = piped(OTHERS, "cat")
    assert done.returncode == 1 and "BrokenPipeError" in done.stderr


def test_a_reader_that_stays_gets_everything_and_the_code_is_the_commands():
    assert piped(LITTLE, "cat").stdout == "little\n" and piped(LITTLE, "cat").returncode == 0
    assert piped("def main(argv): return 75", "cat").returncode == 75


def test_help_shows_examples_and_flags_and_succeeds():
    result = command("--help")
    assert result.returncode == 0
    assert "python -m biggan_jax.describe --config=imagenet128 --config.model.channels=64" in result.stdout
    assert "--config: Name of a shipped config" in result.stdout and "--[no]json" in result.stdout


def test_reading_a_config_loads_neither_tensorflow_nor_orbax():
    code = (
        "import sys, runpy, biggan_jax.describe, biggan_jax.config\n"
        f"biggan_jax.config.validate(runpy.run_path({CIFAR!r})['get_config']())\n"
        "print([name for name in ('tensorflow', 'tensorflow_datasets', 'orbax') if name in sys.modules])"
    )
    assert command(code=code).stdout == "[]\n"
