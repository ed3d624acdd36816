"""BigGAN-deep on ImageNet at 512×512 (Brock et al. 2019, appendix B, table 9).

Both learning rates are 2.5e-5 at this size. The paper gives no number of steps: here it is that of
the 128×128 BigGAN.
"""

from ml_collections import ConfigDict

from biggan_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the config."""
    config = default_config()
    config.batch_size = 2048
    config.total_steps = 165_000
    config.d_steps = 2

    config.model.architecture = "biggan_deep"
    config.model.resolution = 512
    config.model.channels = 128
    config.model.num_classes = 1000
    config.model.latent_dim = 128  # whole, beside the class embedding, into every batch norm
    config.model.shared_embedding = True
    config.model.hierarchical_latents = False
    config.model.attention_resolution = 64
    config.model.dtype = "bfloat16"
    config.replicas.mapping = "shard_map"  # across hosts, pmap copies the state at every step

    config.optimizer.g_learning_rate = 2.5e-5
    config.optimizer.d_learning_rate = 2.5e-5
    config.optimizer.orthogonal_regularization = 1e-4
    config.ema.decay = 0.9999
    config.ema.start_step = 20_000

    config.data.source = "tfds:imagenet2012"
    return config
