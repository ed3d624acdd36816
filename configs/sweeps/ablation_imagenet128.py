"""The paper's ablation on ImageNet at 128×128: the rows of its table 1 (Brock et al. 2019), by name.

  row                  batch  ch  change                 iterations    FID      IS
  row1-baseline          256  64  SA-GAN's baseline       1,000,000  18.65   52.52
  row2-batch-512         512  64  larger batches          1,000,000  15.30   58.77
  row3-batch-1024      1,024  64                          1,000,000  14.88   63.03
  row4-batch-2048      2,048  64                            732,000  12.39   76.85
  row5-channels-96     2,048  96  more channels             295,000   9.54   92.98
  row6-shared          2,048  96  a shared embedding        185,000   9.18   94.94
  row7-skip-z          2,048  96  hierarchical latents      152,000   8.73   98.76
  row8-ortho           2,048  96  orthogonal regularis.     165,000   8.51   99.31
  row9-channels-64     2,048  64  all of it, narrower       371,000  10.48   86.90

FID and IS are the paper's, untruncated, at the iteration where training collapsed or scores stopped rising.
The scores of row 1 are those that Zhang et al. (2019) report for SA-GAN; here row 1 is row 2 with SA-GAN's
batch size.

The data is that of the base config, tfds:imagenet2012. For hosts without it, add the source of a prepared set
in a bucket to each row: "data.source": "prepared:gs://bucket/data/imagenet128" (see launch/sweep.py).
"""

from typing import Any

BASE_CONFIG = "configs/imagenet128.py"  # row 8


def sweep() -> list[dict[str, Any]]:
    """Returns the overrides of each run."""
    no_ortho = {"optimizer.orthogonal_regularization": 0.0}
    no_skip_z = no_ortho | {"model.hierarchical_latents": False, "model.latent_dim": 128}
    plain = no_skip_z | {"model.shared_embedding": False}
    narrow = {"model.channels": 64}
    return [
        _row("row1-baseline", 1_000_000, plain | narrow | {"batch_size": 256}),
        _row("row2-batch-512", 1_000_000, plain | narrow | {"batch_size": 512}),
        _row("row3-batch-1024", 1_000_000, plain | narrow | {"batch_size": 1024}),
        _row("row4-batch-2048", 732_000, plain | narrow),
        _row("row5-channels-96", 295_000, plain),
        _row("row6-shared", 185_000, no_skip_z),
        _row("row7-skip-z", 152_000, no_ortho),
        _row("row8-ortho", 165_000, {}),
        _row("row9-channels-64", 371_000, narrow),
    ]


def _row(name: str, total_steps: int, override: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "total_steps": total_steps} | override
