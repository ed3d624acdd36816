"""Configs that come with the package: each file defines `get_config()`; `--config=NAME` finds it by name."""
