r"""Fine-tuning on your own pictures: pretrained networks, and other classes.

  python -m biggan_jax.train --config=finetune:EXPORT --workdir=runs/mine \
      --config.data.source=folder:pictures --config.model.num_classes=3

EXPORT is a folder that biggan_jax.import_weights or biggan_jax.export has written, or the workdir of another
run. The `model` section is copied from it, except for the number of classes. If an export has no
discriminator, a new one starts from random weights. Learning rates are the paper's. Batch size, steps and
weight averaging are ours, for some hundreds to thousands of pictures. Differentiable augmentation (Zhao et
al. 2020) keeps the discriminator from memorising so few training images.
"""

from ml_collections import ConfigDict

from biggan_jax.config import default_config
from biggan_jax.runtime.errors import UserError


def get_config(init_from: str = "") -> ConfigDict:
    """Returns the config for networks that begin as those of an export or run.

    Args:
      init_from: Export or workdir, as in the field `init_from`.

    Raises:
      UserError: `init_from` is empty or names neither an export nor a run.
    """
    if not init_from:
        raise UserError("give the networks to begin with: --config=finetune:EXPORT")
    from biggan_jax.training.run.initialization import model_of  # here: it imports JAX

    config = default_config()
    config.init_from = init_from
    config.model.update(model_of(init_from))
    config.model.num_classes = 0  # to be set on the command line
    config.data.source = ""  # to be set on the command line

    config.batch_size = 32
    config.total_steps = 10_000
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500

    config.ema.decay = 0.999
    config.ema.start_step = 0
    config.augmentation = "color,translation,cutout"
    return config
