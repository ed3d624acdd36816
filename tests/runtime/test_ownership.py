"""One owner of a place: who comes second is told of the first, and who dies leaves the place free."""

import os
import subprocess
import sys
import threading
import time

import pytest
import tensorstore
from etils import epath

from biggan_jax.runtime import leases, ownership
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import WORKDIR
from biggan_jax.runtime.holder import Holder
from biggan_jax.runtime.ownership import owning, owning_output

OWNER = """
import sys, time
from etils import epath
from biggan_jax.runtime.ownership import owning
with owning(epath.Path(sys.argv[1]), ".train.lock"):
    print("owned", flush=True)
    time.sleep(60)
"""


def test_a_second_owner_is_refused_with_host_and_number_of_the_first_and_a_killed_one_leaves_it_free(
    tmp_path,
):
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"owned\n"
        started = time.monotonic()
        with pytest.raises(UserError) as refused, owning(epath.Path(tmp_path), ".train.lock", WORKDIR):
            pass
        assert time.monotonic() - started < 2
        assert str(refused.value) == (
            f"--workdir={tmp_path}: process {first.pid} on {os.uname().nodename} is at work there; wait "
            "until it ends, stop it, or choose another --workdir"
        )
        with owning(epath.Path(tmp_path), ".evaluate.lock"):
            pass  # a live run may be evaluated
        first.kill()
    with owning(epath.Path(tmp_path), ".train.lock"):
        assert (tmp_path / ".train.lock").exists()
    assert not list(tmp_path.iterdir())


def test_outputs_side_by_side_have_owners_of_their_own_and_no_empty_folder_stays(tmp_path):
    with owning_output(tmp_path / "new" / "a.npz"):
        with pytest.raises(UserError, match="is at work there"), owning_output(tmp_path / "new" / "a.npz"):
            pass
        with owning_output(tmp_path / "new" / "b.npz"):
            pass
    assert not (tmp_path / "new").exists()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("biggan_jax.runtime.locks.fcntl.flock", flock)
    with owning(epath.Path(tmp_path), ".lock") as check:
        check()
    assert "has no locks; see that no second command writes there" in capsys.readouterr().out


@pytest.fixture
def bucket(monkeypatch):
    """A bucket in memory, whose leases live half a second."""
    store = tensorstore.KvStore.open({"driver": "memory"}).result()
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(ownership, "is_object_store", lambda path: True)
    monkeypatch.setattr(ownership, "kvstore_spec", lambda folder: {})

    class Opened:
        def result(self):
            return store

    monkeypatch.setattr(tensorstore.KvStore, "open", lambda spec: Opened())
    return store


PLACE = epath.Path("/run")
DEAD = Holder("elsewhere", 12, "another boot", "token")


def test_a_lease_is_refused_while_its_holder_lives_and_goes_with_it(bucket):
    with owning(PLACE, ".lock") as check:
        time.sleep(0.1)
        check()
        with pytest.raises(UserError, match=f"process {os.getpid()} on .* is at work there"):
            with owning(PLACE, ".lock"):
                pass
    assert bucket.read(".lock").result().state == "missing"


def test_a_pod_that_is_started_again_takes_the_lease_of_a_dead_holder_over(bucket, capsys):
    bucket.write(".lock", DEAD.write()).result()
    started = time.monotonic()
    with owning(PLACE, ".lock"):
        assert time.monotonic() - started >= leases.LEASE_SECONDS
        assert Holder.read(bucket.read(".lock").result().value).pid == os.getpid()
    assert "seeing whether process 12 on elsewhere is alive" in capsys.readouterr().out


def test_a_process_started_again_on_the_same_machine_need_not_wait(bucket, capsys):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    here = Holder.of_this_process()
    bucket.write(".lock", Holder(here.host, ended.pid, here.machine, "token").write()).result()
    with owning(PLACE, ".lock"):
        pass
    assert capsys.readouterr().out == ""


def test_an_owner_that_was_cut_off_stops_once_another_has_taken_over(bucket):
    with owning(PLACE, ".lock") as check:
        bucket.write(".lock", DEAD.write()).result()
        time.sleep(0.2)
        with pytest.raises(UserError, match="process 12 on elsewhere has taken over"):
            check()
    assert Holder.read(bucket.read(".lock").result().value) == DEAD


def test_a_beat_whose_answer_got_lost_does_not_lose_the_lease(bucket):
    with owning(PLACE, ".lock") as check:
        bucket.write(".lock", bucket.read(".lock").result().value).result()  # another generation, its content
        time.sleep(0.1)
        bucket.write(".lock", None).result()  # by a person who tidies up
        time.sleep(0.1)
        check()
        assert bucket.read(".lock").result().state == "value"


def test_of_many_that_take_over_at_once_one_wins(bucket):
    bucket.write(".lock", DEAD.write()).result()
    won, refused, end = [], [], threading.Event()

    def take_over():
        try:
            with owning(PLACE, ".lock"):
                won.append(1)
                end.wait(20)
        except UserError:
            refused.append(1)

    threads = [threading.Thread(target=take_over) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        if len(refused) == 3:
            break
        time.sleep(0.05)
    end.set()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 3)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"host": 1}'])
def test_a_lock_file_without_a_holder_still_refuses(content):
    assert Holder.read(content) is None
