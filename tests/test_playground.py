"""The command that serves the page: it reports what is missing before it compiles anything."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SERVE = """
import runpy, sys
{}
runpy.run_module("biggan_jax.playground", run_name="__main__", alter_sys=True)
"""


STAND_IN = """
import types
sys.modules["gradio"] = types.ModuleType("gradio")
sys.modules["gradio"].__spec__ = object()
"""


def serve(*arguments, before=STAND_IN):
    command = [sys.executable, "-c", SERVE.format(before), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)


def test_without_gradio_the_extra_to_install_is_named(tmp_path):
    done = serve(tmp_path, before='sys.modules["gradio"] = None')
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the page needs Gradio: pip install 'biggan-jax[playground]'\n"


@pytest.mark.parametrize("form", ["{}", "--weights={}"])
def test_the_folder_named_in_either_form_is_the_one_that_is_loaded(tmp_path, form):
    done = serve(form.format(tmp_path), "--port=8080")
    assert done.returncode == 2 and done.stderr.startswith(f"error: {tmp_path} is no export")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give an export: python -m biggan_jax.playground EXPORT"),
        (("one", "other"), "one and other: the page shows one export"),
        (("one", "--weights=other"), "one and other: the page shows one export"),
        (("--port=8080",), "give an export"),
        (("--port=0", "one"), "--port=0: "),
    ],
)
def test_no_folder_or_several_are_an_error_in_one_line(arguments, words):
    done = serve(*arguments)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and words in line


def test_requests_of_the_page_to_its_own_server_are_not_logged():
    code = (
        "import logging; from biggan_jax import playground; logging.getLogger().setLevel(logging.INFO); "
        "playground._silence_requests(); print(logging.getLogger('httpx').isEnabledFor(logging.INFO), "
        "logging.getLogger('httpx').isEnabledFor(logging.WARNING))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_help_shows_the_examples():
    done = serve("--help")
    assert done.returncode == 0 and "python -m biggan_jax.playground exports/garments" in done.stdout
