"""Changes of a folder between two starts of a run: each once here, 20 times in the script."""

import other_images


def test_another_set_is_refused_and_the_same_set_goes_on(monkeypatch, tmp_path):
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path))
    tally = other_images.main(rounds=1)
    assert tally.failures == []
    assert (tally.num_survived, tally.num_refused) == (len(other_images.SAME), len(other_images.OTHER))
