"""Fine-tuning on pictures of your own: networks that were trained before, and other classes.

  python -m biggan_jax.train --config=configs/finetune.py:EXPORT --workdir=runs/mine \\
      --config.data.source=folder:pictures --config.model.num_classes=3

EXPORT is a folder that biggan_jax.import_weights or biggan_jax.export has written, or another run's workdir.
The `model` section is what it says there, but for the number of classes. Where there is no discriminator,
a new one begins from nothing. Rates are the paper's. Batch, steps and a shorter average are ours, meant for
some hundreds to thousands of pictures; the discriminator sees them with differentiable augmentation (Zhao et
al. 2020), so as not to learn them by heart.
"""

from ml_collections import ConfigDict

from biggan_jax.config import default_config
from biggan_jax.runtime.errors import UserError


def get_config(init_from: str = "") -> ConfigDict:
    if not init_from:
        raise UserError("say what to begin with: --config=configs/finetune.py:EXPORT")
    from biggan_jax.training.run.initialization import model_of

    config = default_config()
    config.init_from = init_from
    config.model.update(model_of(init_from))
    config.model.num_classes = 0  # yours, to be given
    config.data.source = ""  # likewise

    config.batch_size = 32
    config.total_steps = 10_000
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500

    config.ema.decay = 0.999
    config.ema.start_step = 0
    config.augmentation = "color,translation,cutout"
    return config
