"""File locks: one process at a time; the others wait or are refused, and a dead process holds nothing."""

import subprocess
import sys
import threading
import time

import pytest

from biggan_jax.runtime.locks import exclusive, locked

HOLDER = """
import sys, time
from pathlib import Path
from biggan_jax.runtime.locks import locked
with locked(Path(sys.argv[1]), lambda file: sys.exit("busy")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock file until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "set" / ".a.lock")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_busy_lock_may_refuse(tmp_path, holder):
    def busy(file):
        raise RuntimeError("busy")

    with pytest.raises(RuntimeError, match="busy"):
        with locked(tmp_path / "set" / ".a.lock", busy):
            pass


def test_waiting_ends_when_the_process_that_holds_the_lock_dies(tmp_path, holder, capsys):
    entered = threading.Event()

    def enter():
        with exclusive(tmp_path / "set", "a", "preparing"):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    time.sleep(0.2)
    assert not entered.is_set()
    holder.kill()
    thread.join(timeout=20)
    assert entered.is_set()
    said = capsys.readouterr().out
    assert said == f"another process is preparing a in {tmp_path}/set: waiting for it\n"


def test_a_free_lock_says_nothing(tmp_path, capsys):
    with exclusive(tmp_path / "new" / "set", "a", "preparing"):
        pass
    assert capsys.readouterr().out == ""


def test_who_waited_for_a_lock_file_that_goes_holds_the_file_that_others_find(tmp_path):
    path, waiting, entered, end = tmp_path / ".lock", *(threading.Event() for _ in range(3))

    def wait_and_hold():
        with locked(path, lambda _: waiting.set(), temporary=True):
            entered.set()
            end.wait(20)

    thread = threading.Thread(target=wait_and_hold)
    with locked(path, lambda _: pytest.fail("busy"), temporary=True):
        thread.start()
        assert waiting.wait(20)
    assert entered.wait(20)

    def busy(_):
        raise RuntimeError("busy")

    with pytest.raises(RuntimeError, match="busy"), locked(path, busy):
        pass
    end.set()
    thread.join()
    assert not path.exists()
