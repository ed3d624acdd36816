"""The config: every field with default, allowed values and meaning, and the checks before a run.

A file in configs/ defines `get_config()`, which starts from `default_config()` and sets what differs.
Importing this package imports neither JAX nor TensorFlow, so a misspelt field is refused at once.
"""

from biggan_jax.config.allowed import names_in
from biggan_jax.config.comparison import config_to_json, differences, flatten
from biggan_jax.config.fields import FIELDS, default_config
from biggan_jax.config.validation import ConfigError, validate

__all__ = [
    "FIELDS",
    "ConfigError",
    "config_to_json",
    "default_config",
    "differences",
    "flatten",
    "names_in",
    "validate",
]
