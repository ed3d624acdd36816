"""Scores against torchmetrics' and prdc's own functions on the same features.

Not torch-fidelity's: it needs a torchvision that was built with the same PyTorch, which PyPI has for GPUs
only.
"""

import numpy as np
import pytest

from biggan_jax.evaluation.scores import frechet
from biggan_jax.evaluation.scores.inception_score import inception_score
from biggan_jax.evaluation.scores.kernel import kid, mmd2
from biggan_jax.evaluation.scores.manifold import manifold
from biggan_jax.evaluation.scores.moments import Moments

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def features():
    """Like a network's: not negative, correlated, with a few that are always 0."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((48, 64)) / 7
    mixing[:, :3] = 0
    shift = np.where(mixing[0] != 0, 0.1, 0)
    real = np.maximum(random.standard_normal((900, 48)) @ mixing, 0)
    samples = np.maximum(1.2 * random.standard_normal((700, 48)) @ mixing + shift, 0)
    return real.astype("f"), samples.astype("f")


def passing_through(width):
    """A "feature network" for torchmetrics that hands on the features it is given."""
    import torch

    network = torch.nn.Identity()
    network.num_features = width
    return network


def test_fid_is_torchmetrics(features):
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(passing_through(64)).set_dtype(torch.float64)
    ours = []
    for rows, real in zip(features, (True, False), strict=True):
        theirs.update(torch.tensor(rows, dtype=torch.float64), real=real)
        moments = Moments()
        for batch in np.array_split(rows, 7):
            moments.update(batch)
        ours.append(moments.statistics())
    expected = theirs.compute().item()
    assert frechet.distance(*ours) == pytest.approx(expected, rel=1e-6)
    assert frechet.distance_of_features(*features) == pytest.approx(expected, rel=1e-6)


def test_kid_is_torchmetrics(features):
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    theirs = KernelInceptionDistance(passing_through(64), subsets=20, subset_size=300).set_dtype(
        torch.float64
    )
    for rows, real in zip(features, (True, False), strict=True):
        theirs.update(torch.tensor(rows, dtype=torch.float64), real=real)
    torch.manual_seed(0)
    mean, std = (value.item() for value in theirs.compute())
    torch.manual_seed(0)  # draws the same subsets again
    ours = []
    for _ in range(20):
        ours.append(mmd2(*(rows[torch.randperm(len(rows)).numpy()[:300]] for rows in features)))
    assert np.mean(ours) == pytest.approx(mean, rel=1e-9)
    assert np.std(ours) == pytest.approx(std, rel=1e-9)
    found = kid(*features, subsets=20, subset_size=300)  # its own subsets
    assert found.value == pytest.approx(mean, abs=3 * found.standard_error)
    assert found.std == pytest.approx(std, rel=0.6)


def test_the_inception_score_is_torchmetrics():
    import torch
    from torchmetrics.image.inception import InceptionScore

    logits = 3 * np.random.default_rng(0).standard_normal((1000, 20))
    theirs = InceptionScore(passing_through(20), splits=10).set_dtype(torch.float64)
    theirs.update(torch.tensor(logits))
    torch.manual_seed(0)
    mean, std = (value.item() for value in theirs.compute())
    torch.manual_seed(0)  # shuffles alike
    found = inception_score(logits[torch.randperm(1000).numpy()], shuffle_seed=None)
    assert found.mean == pytest.approx(mean, rel=1e-12)
    assert found.std == pytest.approx(std * np.sqrt(9 / 10), rel=1e-9)  # theirs is divided by 9


def test_precision_recall_density_and_coverage_are_prdcs(features):
    from prdc import compute_prdc

    found = manifold(*features)
    by_three, by_five = (compute_prdc(*map(np.float64, features), nearest_k=k) for k in (3, 5))
    assert found.precision == pytest.approx(by_three["precision"], abs=1e-12)
    assert found.recall == pytest.approx(by_three["recall"], abs=1e-12)
    assert found.density == pytest.approx(by_five["density"], abs=1e-12)
    assert found.coverage == pytest.approx(by_five["coverage"], abs=1e-12)
    assert 0 < found.recall < 1 and 0 < found.precision < 1  # neither trivial
