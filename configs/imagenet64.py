"""BigGAN on ImageNet at 64×64: the 128×128 model with one resolution less, for the paper has no such table.

The widths, ch 64 and the latent of 5 chunks are those of the authors' PyTorch release, with self-attention at
32×32, since 64×64 is the image itself. Batch size, learning rates and weight averaging are the paper's. The
number of steps is ours: that of the 128×128 model with ch 64 (table 1, row 9).
"""

from ml_collections import ConfigDict

from biggan_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the config."""
    config = default_config()
    config.batch_size = 2048
    config.total_steps = 371_000
    config.d_steps = 2

    config.model.architecture = "biggan"
    config.model.resolution = 64
    config.model.channels = 64
    config.model.num_classes = 1000
    config.model.latent_dim = 100  # 5 chunks of 20
    config.model.shared_embedding = True
    config.model.hierarchical_latents = True
    config.model.attention_resolution = 32
    config.model.dtype = "bfloat16"
    config.replicas.mapping = "shard_map"  # across hosts, pmap copies the state at every step

    config.optimizer.g_learning_rate = 5e-5
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.orthogonal_regularization = 1e-4
    config.ema.decay = 0.9999
    config.ema.start_step = 20_000

    config.data.source = "tfds:imagenet2012"
    return config
