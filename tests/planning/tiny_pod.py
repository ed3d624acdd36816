"""A network of a few pixels, and this machine's simulated devices in the place of a slice of TPUs."""

from typing import Any

import jax
from ml_collections import ConfigDict

from biggan_jax.config import default_config
from biggan_jax.planning.slices import GENERATIONS, Slice


def make_config(**fields: Any) -> ConfigDict:
    """One block in each network, three D updates; `fields` by dotted name."""
    config = default_config()
    config.update(batch_size=16, d_steps=3, total_steps=7_200)
    config.model.update(
        resolution=8,
        channels=4,
        generator_channels=(2, 1),
        discriminator_channels=(1,),
        num_classes=3,
        latent_dim=4,
        class_embedding_dim=3,
        attention_resolution=0,
    )
    config.data.source = "folder:pictures"
    config.update_from_flattened_dict(fields)
    return config


def make_slice(count: int = 2, hbm_limit: int = 2**30) -> Slice:
    return Slice("v3:1x1", GENERATIONS["v3"], jax.devices()[:count], 1, hbm_limit)
