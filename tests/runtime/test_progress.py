"""Progress of long work: a log gets a line now and then, a terminal a bar, and results pass through."""

import io
import threading

import pytest
from rich.console import Console

from biggan_jax.runtime import progress
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.progress import counting, track, wait_for


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test moves its hand."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def one_every(clock, seconds, count):
    for _ in range(count):
        clock.now += seconds
        yield 1, None


def test_items_come_through_and_short_work_says_nothing(capsys):
    assert list(track([(2, "a"), (3, "b")], "doing", total=5)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_log_shows_how_far_the_work_is_and_how_long_it_will_take(capsys, clock):
    """Ten seconds for each of 12 images, of which 4 were done before."""
    list(track(one_every(clock, 10, 8), "preparing train", total=12, done=4, unit="images"))
    assert capsys.readouterr().err.splitlines() == [
        "preparing train: 5 of 12 images  0.1 images/s  ETA 0:01:10",
        "preparing train: 8 of 12 images  0.1 images/s  ETA 0:00:40",
        "preparing train: 11 of 12 images  0.1 images/s  ETA 0:00:10",
        "preparing train: 12 of 12 images  0.1 images/s  ETA 0:00:00",
    ]


def test_the_rate_is_that_of_the_last_half_minute_and_leaves_compiling_out(clock):
    out = io.StringIO()
    with counting("", 1000, console=Console(file=out, width=200), compiles=True) as advance:
        clock.now += 300
        advance(10)  # compiled
        clock.now += 10
        advance(10)
        clock.now += 31
        advance(310)
    assert out.getvalue().splitlines() == ["10 of 1,000", "330 of 1,000  10/s  ETA 0:01:07"]


def test_a_log_may_be_spared_the_lines(capsys, clock):
    list(track(one_every(clock, 100, 5), "extracting", total=5, lines=False))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_whose_title_is_no_markup():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    assert list(track([(1, "a")], "preparing train[:9]", total=3, console=console)) == ["a"]
    assert "preparing train[:9]: 1 of 3" in out.getvalue() and "━" in out.getvalue()


def test_the_result_comes_from_another_thread_and_each_phase_is_shown(capsys):
    def work(begin):
        begin("tracing")
        begin("compiling")
        return threading.current_thread()

    assert wait_for("v3:2x2", work) is not threading.current_thread()
    assert capsys.readouterr().err == "v3:2x2: tracing\nv3:2x2: compiling\n"


def test_what_the_work_raises_is_raised_here():
    error = UserError("a config that cannot be")

    def work(begin):
        raise error

    with pytest.raises(UserError) as raised:
        wait_for("v3:2x2", work)
    assert raised.value is error


def test_a_log_that_asks_for_it_has_a_line_at_the_first_and_the_last_step(clock):
    out = io.StringIO()
    console = Console(file=out, width=200)
    with counting("", 23, 12, unit="images", console=console, quiet_seconds=0, compiles=True) as advance:
        for _ in range(11):
            clock.now += 1
            advance()
    lines = ["13 of 23 images", "23 of 23 images  1 images/s  ETA 0:00:00"]
    assert out.getvalue().splitlines() == lines
