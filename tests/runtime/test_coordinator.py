"""JAX's coordinator: it listens where its address says, and an impossible address is refused at once."""

import os

import jax
import pytest

from biggan_jax.runtime import processes
from biggan_jax.runtime.errors import UserError


@pytest.fixture
def bound(monkeypatch):
    """Joins a run of one process without a connection; returns the address that JAX would listen at."""

    def bound(address: str) -> str | None:
        monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "")
        monkeypatch.delenv("JAX_COORDINATOR_BIND_ADDRESS")
        monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: None)
        processes.join(address, 1, 0)
        return os.environ.get("JAX_COORDINATOR_BIND_ADDRESS")

    return bound


@pytest.mark.parametrize("address", ["127.0.0.1:1234", "localhost:1234", "[::1]:1234"])
def test_the_coordinator_of_one_machine_listens_at_no_other_address(bound, address):
    assert bound(address) == address


def test_the_coordinator_of_several_hosts_is_reached_by_all(bound):
    assert bound("first-host:1234") is None


@pytest.mark.parametrize(
    "address", ["first-host", ":1", "first-host:0", "first-host:65536", "a:99999999", "a:b"]
)
def test_an_address_without_a_possible_port_is_refused(bound, address):
    with pytest.raises(UserError, match="give HOST:PORT, with a port from 1 to 65,535"):
        bound(address)
