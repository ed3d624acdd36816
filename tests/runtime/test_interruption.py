"""Ctrl-C, SIGTERM and SIGHUP: before there is anything to save, while saving, in imports and in compilers."""

import os
import signal
import subprocess
import sys
import time

import pytest

from biggan_jax.runtime.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE
from biggan_jax.runtime.interruption import Interruption


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, EXIT_RESUMABLE), (signal.SIGHUP, EXIT_RESUMABLE)],
)
def test_a_signal_before_the_first_step_ends_the_process_at_once(number, code):
    with pytest.raises(SystemExit) as exit_info, Interruption():
        os.kill(os.getpid(), number)
    assert exit_info.value.code == code


def test_a_second_ctrl_c_interrupts_even_the_saving():
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in a shell's background
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        interruption.stepping = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)  # impatient launchers repeat it
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("when", ["during the save before it", "in it"])
def test_a_signal_does_not_wait_for_an_evaluation_whose_state_is_saved(when, capsys):
    with pytest.raises(SystemExit) as exit_info, Interruption() as interruption:
        interruption.stepping = True
        if when != "in it":
            os.kill(os.getpid(), signal.SIGTERM)
        with interruption.may_end("saved at step 4"):
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("evaluated")
    assert exit_info.value.code == EXIT_RESUMABLE
    assert capsys.readouterr().err.endswith("saved at step 4\n")


STUCK = """
import hashlib, sys
from biggan_jax.runtime import interruption
interruption.SECONDS_TO_END = 0.3
interruption.end_quietly()
if sys.argv[1] == "training":
    interruption.Interruption().__enter__().stepping = sys.argv[2] == "saving"
print("ready", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", int(sys.argv[3]))  # as XLA's compiler: no Python for long
print("through", flush=True)
"""
FOREVER = "1000000000"


@pytest.mark.parametrize(
    ("words", "number", "code"),
    [
        (("command", "", FOREVER), signal.SIGINT, EXIT_INTERRUPTED),
        (("training", "", FOREVER), signal.SIGINT, EXIT_INTERRUPTED),
        (("training", "", FOREVER), signal.SIGTERM, EXIT_RESUMABLE),
        (("training", "", FOREVER), signal.SIGHUP, EXIT_RESUMABLE),
        (("training", "saving", "3000000"), signal.SIGTERM, 0),
    ],
)
def test_a_process_in_the_compiler_ends_by_a_signal_unless_it_has_something_to_save(words, number, code):
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # it is in the compiler by then
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()  # one that does not end would go on for minutes
    assert process.returncode == code and "Traceback" not in err
    assert out == ("" if code else "through\n")


@pytest.mark.parametrize("module", ["biggan_jax", "ml_collections", "jax._src.core", "flax.core"])
def test_ctrl_c_during_imports_ends_a_command_quietly(module, tmp_path):
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "biggan_jax.train",
        "--config=fashion_mnist",
        f"--workdir={tmp_path}/run",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        imported = ""
        while imported != module:
            line = process.stdout.readline()
            assert line, f"{module} was not imported"
            imported = line.rpartition("|")[2].strip()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    said = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, said) == (EXIT_INTERRUPTED, [])
    assert not list(tmp_path.iterdir())


def test_a_run_under_nohup_goes_on_when_the_terminal_is_gone():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interruption.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)
