"""Tests run on the CPU, which poses as four devices, unless the environment says otherwise.

On simulated devices, wait for each step before the next (`jax.block_until_ready`): two steps with
collectives in flight at once deadlock.
"""

import atexit
import gc
import os
import shutil
import signal
import tempfile

import compiling
import pytest

compiling.set_defaults(devices=4)
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers, and the processes that tests start, inherit it
    session = tempfile.mkdtemp(prefix="biggan-tests-")
    atexit.register(shutil.rmtree, session, ignore_errors=True)
    compiling.set_cache(os.path.join(session, "compiled"))
    os.environ["BIGGAN_CACHE"] = os.path.join(session, "cache")  # not the user's

import jax  # noqa: E402
import numpy as np  # noqa: E402

# A shell's background ignores Ctrl-C, and nohup the end of the terminal. Processes that tests start would
# inherit that and not hear the signal; a handler is not inherited, and this one goes on ignoring.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_are_let_go():
    """Each keeps some memory maps, of which a process may have 65,530: over all tests they would run out."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def float64():
    """Arrays of a test are float64, for comparisons with closed forms."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    """Random numbers that are the same in each test."""
    return np.random.default_rng(0)


def pytest_collection_modifyitems(items):
    """Puts files with slow tests first: a worker that begins one last would leave the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
