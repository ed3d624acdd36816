"""Progress of long work: everything is passed on, and a log hears of it now and then."""

from biggan_jax.runtime import progress


def test_items_come_through_and_short_work_says_nothing(capsys):
    assert list(progress.track([(2, "a"), (3, "b")], "doing", total=5)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_log_is_told_how_far_it_is_and_how_long_it_will_take(capsys, monkeypatch):
    """Ten seconds for each of 12 images, of which 4 were done before."""
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    list(progress.track([(1, None)] * 8, "preparing train", total=12, done=4))
    assert capsys.readouterr().err.splitlines() == [
        "preparing train: 5 of 12, 0:01:10 left",
        "preparing train: 8 of 12, 0:00:40 left",
        "preparing train: 11 of 12, 0:00:10 left",
    ]
