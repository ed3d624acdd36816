"""The ladder of the paper's table 1 (Brock et al. 2019) at Fashion-MNIST's scale, for two CPU cores.

The rows have the names of ablation_imagenet128.py and, as far as possible, its ratios: batches double three
times, width grows by half, and the baseline has no shared embedding, no hierarchical latents and no
orthogonal regularisation. Learning rates are the same throughout, as in the paper.

Every run takes the same number of steps, not of images: table 1 shows the effect of a larger batch on one
step, and its first three rows end at the same step too. So a row with larger batches learns from more images,
and costs more. The last two runs are row 8 with other seeds. They differ by chance alone, so smaller
differences between rows mean nothing.

  python -m biggan_jax.launch.sweep --sweep=ablation_fashion_mnist --workdir=runs/ablation --evaluate
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
    """Returns the overrides of each run."""
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
