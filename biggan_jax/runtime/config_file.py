"""Loads the config that `--config` names, with one clear message for each mistake in it."""

import difflib
import importlib
import os
import re
import runpy
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence

from absl import flags
from ml_collections import ConfigDict

from biggan_jax.runtime import shipped
from biggan_jax.runtime.errors import UserError

# Imported by name, for it is not below this module: its default config has the fields of the shipped configs.
PACKAGE = "biggan_jax.config"


class ConfigFile(flags.ArgumentParser):
    """Loads the ConfigDict of a file, or of `FILE:ARGUMENT` if the file's get_config takes an argument.

    It takes the place of ml_collections' own parser, which answers every mistake in the file or in the name
    of a field with a traceback.

    Attributes:
      required: Whether the command refuses to start without a config.
    """

    def __init__(self, required: bool = True) -> None:
        self.required = required

    def parse(self, argument: str) -> ConfigDict:
        """Returns the locked config of the file that `argument` names.

        Args:
          argument: Path of a file, or name of a shipped config, as `shipped.find` takes it; behind a colon
            the argument of get_config.

        Raises:
          UserError: The file is missing or broken, its config is not a ConfigDict, or an override on the
            command line names an unknown field.
        """
        name, *arguments = argument.split(":", 1)
        file = shipped.find(name)
        if file is None:
            raise UserError(
                f"--config={argument}: no file {name!r} in {os.getcwd()}, and no config of this name"
                f"{shipped.suggestion(name)}"
            )
        if file.parent == shipped.CONFIGS:  # its get_config may read an export, for which it imports JAX
            _refuse_unknown(argument, importlib.import_module(PACKAGE).default_config())
        config = _load(argument, str(file), arguments)
        _refuse_unknown(argument, config)
        return config.lock()

    def flag_type(self) -> str:
        """Returns the type's name for the help text."""
        return "config file"


def _load(argument: str, file: str, arguments: Sequence[str]) -> ConfigDict:
    try:
        get_config = runpy.run_path(file).get("get_config")
        config = get_config(*arguments) if get_config else None
    except UserError as error:
        raise UserError(f"--config={argument}: {error}") from error
    except Exception as error:
        raise UserError(f"--config={argument}: {_place(error, file)}{_message(error)}") from error
    if get_config is None:
        raise UserError(f"--config={argument}: the file defines no function get_config()")
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={argument}: get_config() must return a ConfigDict, not {type(config).__name__}; start "
            "from biggan_jax.config.default_config()"
        )
    return config


def _refuse_unknown(argument: str, config: ConfigDict) -> None:
    """Refuses overrides on the command line of fields that `config` does not have."""
    known = field_names(config)
    for field in _overrides(flags.FLAGS.read_flags_from_files(sys.argv)):
        if field not in known:
            raise UserError(f"{argument} has no field config.{field}{did_you_mean(field, known)}")


def _overrides(argv: Sequence[str]) -> Iterator[str]:
    """Yields the fields that `--config.field=value` and `--noconfig.field` in `argv` name."""
    for argument in argv:
        if field := re.match(r"--?(?:no)?config\.([^=]*)", argument):
            yield field[1]


def field_names(config: ConfigDict, prefix: str = "") -> set[str]:
    """Returns the dotted names of all fields and sections: `{"seed", "model", "model.channels", …}`."""
    names = set()
    for key, value in config.items():
        names.add(prefix + key)
        if isinstance(value, ConfigDict):
            names |= field_names(value, f"{prefix}{key}.")
    return names


def did_you_mean(field: str, known: Collection[str]) -> str:
    """Returns the end of an error message: similar fields or, if none is similar, all of the section."""

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
        return f"; its fields are {', '.join(sorted(split(name)[1] for name in siblings))}"
    return "; python -m biggan_jax.describe --fields lists all fields"


def _place(error: Exception, file: str) -> str:
    """Returns `line 12: KeyError: ` for a KeyError that line 12 of `file` raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: "


def _message(error: Exception) -> str:
    """Returns the text of an error without what ml_collections adds to it."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    # The text of a KeyError comes in quotes, escaped; its argument does not.
    text = error.args[0] if isinstance(error, KeyError) else str(error)
    text, _, all_fields = str(text).partition(" Other fields present: ")
    hint = all_fields.rpartition("\nDid you mean ")
    return f"{text} Did you mean {hint[2]}" if hint[1] else text
