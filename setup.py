"""Ships configs/ and launch/ inside the package, as biggan_jax.configs and biggan_jax.launch.

An installed biggan_jax then has them wherever it is; pyproject.toml holds everything else.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["biggan_jax", "biggan_jax.*"]),
        "biggan_jax.configs",
        "biggan_jax.configs.sweeps",
        "biggan_jax.launch",
    ],
    package_dir={"biggan_jax.configs": "configs", "biggan_jax.launch": "launch"},
)
