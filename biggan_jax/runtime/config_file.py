"""Loads the file that `--config` names, with one clear message for each mistake in it."""

import difflib
import os
import re
import runpy
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence

from absl import flags
from ml_collections import ConfigDict

from biggan_jax.runtime.errors import UserError


class ConfigFile(flags.ArgumentParser):
    """Loads the ConfigDict of `FILE.py`, or of `FILE.py:argument` if its get_config takes one.

    It stands in for ml_collections' own parser, which answers every mistake in the file or in the name of a
    field with a traceback.
    """

    def parse(self, path: str) -> ConfigDict:
        file, *argument = path.split(":", 1)
        if not os.path.isfile(file):
            raise UserError(f"--config={path}: there is no file {file!r} in {os.getcwd()}")
        try:
            get_config = runpy.run_path(file).get("get_config")
            config = get_config(*argument) if get_config else None
        except UserError as error:
            raise UserError(f"--config={path}: {error}") from error
        except Exception as error:
            raise UserError(f"--config={path}: {_place(error, file)}{_message(error)}") from error
        if get_config is None:
            raise UserError(f"--config={path}: the file defines no function get_config()")
        if not isinstance(config, ConfigDict):
            raise UserError(
                f"--config={path}: get_config() must return a ConfigDict, not {type(config).__name__}; start "
                "from biggan_jax.config.default_config()"
            )
        known = field_names(config)
        for field in _overrides(sys.argv):
            if field not in known:
                raise UserError(f"{path} has no field config.{field}{did_you_mean(field, known)}")
        return config.lock()

    def flag_type(self) -> str:
        return "config file"


def _overrides(argv: Sequence[str]) -> Iterator[str]:
    """The fields that `--config.field=value` and `--noconfig.field` in `argv` name."""
    for argument in argv:
        if field := re.match(r"--?(?:no)?config\.([^=]*)", argument):
            yield field[1]


def field_names(config: ConfigDict, prefix: str = "") -> set[str]:
    """The dotted names of all fields and sections: `{"seed", "model", "model.channels", …}`."""
    names = set()
    for key, value in config.items():
        names.add(prefix + key)
        if isinstance(value, ConfigDict):
            names |= field_names(value, f"{prefix}{key}.")
    return names


def did_you_mean(field: str, known: Collection[str]) -> str:
    """Names the fields that may have been meant, by name or spelling; failing that, all of the section."""

    def split(name: str) -> tuple[str, str]:
        section, _, last = name.rpartition(".")
        return section, last

    section, last = split(field)
    siblings = {name for name in known if split(name)[0] == section}

    def similar(names: Collection[str]) -> list[str]:
        return [name for name in names if difflib.get_close_matches(last, [split(name)[1]], cutoff=0.7)]

    candidates = (
        {name for name in known if split(name)[1] == last}  # right name, wrong section
        or similar(siblings)
        or (not siblings and difflib.get_close_matches(field, known, n=1))  # misspelt section
        or similar(known)
    )
    if candidates:
        return f"; did you mean {' or '.join(f'config.{name}' for name in sorted(candidates))}?"
    if siblings:
        return f"; there are {', '.join(sorted(split(name)[1] for name in siblings))}"
    return "; the fields are listed in biggan_jax/config.py"


def _place(error: Exception, file: str) -> str:
    """`line 12: KeyError: ` for a KeyError that came out of line 12 of `file`."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: "


def _message(error: Exception) -> str:
    """The text of an error, without what ml_collections puts around it."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text = (
        error.args[0] if isinstance(error, KeyError) else str(error)
    )  # a KeyError prints in quotes, escaped
    text, _, all_fields = str(text).partition(" Other fields present: ")
    hint = all_fields.rpartition("\nDid you mean ")
    return f"{text} Did you mean {hint[2]}" if hint[1] else text
