"""Sweeps: files that list overrides of a config, the runs they make, and what came of them.

What a file in configs/sweeps/ takes to make its list is here: `each`, `product`, `zipped`, `random_search`.
"""

from biggan_jax.sweeps.combine import choice, each, log_uniform, product, random_search, uniform, zipped

__all__ = ["choice", "each", "log_uniform", "product", "random_search", "uniform", "zipped"]
