"""Tests run on the CPU, which poses as four devices, unless the environment says otherwise.

On simulated devices, wait for each step before the next (`jax.block_until_ready`): two steps with
collectives in flight at once deadlock.
"""

import os

# Before JAX is imported: it reads both when it first looks for devices. Compiling takes most of the tests'
# time, and less of it without LLVM's optimisation, which networks this small can do without.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
for flag, value in {"xla_force_host_platform_device_count": 4, "xla_backend_optimization_level": 0}.items():
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{flag}={value}".strip()

import gc  # noqa: E402
import signal  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

# A shell's background ignores Ctrl-C, and processes inherit that: those that tests start would not hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_are_let_go():
    """Each keeps some memory maps, of which a process may have 65,530: over all tests they would run out."""
    yield
    jax.clear_caches()
    gc.collect()
