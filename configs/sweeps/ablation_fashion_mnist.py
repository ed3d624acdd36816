"""The ladder of the paper's table 1 (Brock et al. 2019) at Fashion-MNIST's scale, for two CPU cores.

The names are those of ablation_imagenet128.py, and so are the ratios, as far as they go: batches double three
times, width grows by half, and the baseline has neither shared embedding nor hierarchical latents nor
orthogonal regularisation. Learning rates are the same throughout, as in the paper.

Every run takes the same number of steps, not of images: table 1 says what a larger batch makes of a step,
and its first three rows, too, end at the same step. So a row of larger batches has seen more images, and has
cost more. The last two runs are row 8 with other seeds: what lies between them is chance, and differences
between rows that are no larger say nothing.

  python launch/sweep.py --sweep=configs/sweeps/ablation_fashion_mnist.py --workdir=runs/ablation --evaluate
"""

from typing import Any

from biggan_jax.sweeps import each, product

BASE_CONFIG = "configs/fashion_mnist.py"

COMMON = {
    "total_steps": 800,
    "sample_every": 200,
    "checkpoint_every": 200,
    "ema.decay": 0.99,
    "ema.start_step": 100,
    "collapse.check_every": 200,
    "evaluation.every": 200,
    "evaluation.num_samples": 2_000,
}
WIDTH, GREATER_WIDTH = {"model.channels": 8}, {"model.channels": 12}
NO_ORTHO = {"optimizer.orthogonal_regularization": 0.0}
NO_SKIP_Z = NO_ORTHO | {"model.hierarchical_latents": False}
PLAIN = NO_SKIP_Z | {"model.shared_embedding": False}


def sweep() -> list[dict[str, Any]]:
    largest = {"batch_size": 64}
    rows = [
        {"name": "row1-baseline", "batch_size": 8} | PLAIN | WIDTH,
        {"name": "row2-batch-16", "batch_size": 16} | PLAIN | WIDTH,
        {"name": "row3-batch-32", "batch_size": 32} | PLAIN | WIDTH,
        {"name": "row4-batch-64"} | largest | PLAIN | WIDTH,
        {"name": "row5-channels-12"} | largest | PLAIN | GREATER_WIDTH,
        {"name": "row6-shared"} | largest | NO_SKIP_Z | GREATER_WIDTH,
        {"name": "row7-skip-z"} | largest | NO_ORTHO | GREATER_WIDTH,
        {"name": "row8-ortho"} | largest | GREATER_WIDTH,
        {"name": "row9-channels-8"} | largest | WIDTH,
    ]
    again = product([{"name": "row8-ortho"} | largest | GREATER_WIDTH], each("seed", [1, 2]))
    return [override | COMMON for override in rows + again]
