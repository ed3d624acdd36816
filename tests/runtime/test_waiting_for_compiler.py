"""What work in a thread gives and raises comes out of it."""

import threading

import pytest

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.waiting import wait_for


def test_the_result_comes_from_another_thread_and_each_phase_is_told(capsys):
    def work(tell):
        tell("tracing")
        tell("compiling")
        return threading.current_thread()

    assert wait_for("v3:2x2", work) is not threading.current_thread()
    assert capsys.readouterr().err == "v3:2x2: tracing\nv3:2x2: compiling\n"


def test_what_the_work_raises_is_raised_here():
    error = UserError("a config that cannot be")

    def work(tell):
        raise error

    with pytest.raises(UserError) as raised:
        wait_for("v3:2x2", work)
    assert raised.value is error
