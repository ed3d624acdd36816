"""The command that serves the page: what is missing is said before anything is compiled."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SERVE = """
import runpy, sys
{}
runpy.run_module("biggan_jax.playground", run_name="__main__", alter_sys=True)
"""


def serve(weights, before):
    command = [sys.executable, "-c", SERVE.format(before), f"--weights={weights}"]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)


def test_without_gradio_the_extra_to_install_is_named(tmp_path):
    done = serve(tmp_path, 'sys.modules["gradio"] = None')
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the page needs Gradio: pip install 'biggan-jax[playground]'\n"


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    stand_in = "import types; sys.modules['gradio'] = types.ModuleType('gradio')"
    done = serve(tmp_path, f"{stand_in}; sys.modules['gradio'].__spec__ = object()")
    assert done.returncode == 2 and done.stderr.startswith(f"error: {tmp_path} is no export")
