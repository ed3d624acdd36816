"""Sweeps: files that list overrides of a config, the runs that they make, and the results of these runs.

A file in configs/sweeps/ builds its list with `each`, `product`, `zipped` and `random_search`.
"""

from biggan_jax.sweeps.combine import choice, each, log_uniform, product, random_search, uniform, zipped

__all__ = ["choice", "each", "log_uniform", "product", "random_search", "uniform", "zipped"]
