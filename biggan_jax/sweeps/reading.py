"""Reads a sweep file, and checks every run that it makes before the first is started.

It defines `BASE_CONFIG`, the path of a config file as for --config, and `sweep()`, which returns a list of
overrides (combine.py).
"""

import copy
import os
import runpy
import traceback
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict

from biggan_jax.config import ConfigError, validate
from biggan_jax.runtime import cli
from biggan_jax.runtime.cli import did_you_mean, field_names
from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.naming import NAME, run_name


class Run(NamedTuple):
    """One run of a sweep.

    Attributes:
      name: of its directory in the sweep's workdir.
      base: the config file, as --config takes it.
      override: the fields that differ from it, of the types they have there.
      config: all fields.
    """

    name: str
    base: str
    override: dict[str, Any]
    config: ConfigDict

    def flags(self) -> list[str]:
        """What makes a command of the package use this config."""
        fields = (f"--config.{field}={_as_flag(value)}" for field, value in self.override.items())
        return [f"--config={self.base}", *fields]


def read_sweep(path: str, only: Sequence[str] = ()) -> list[Run]:
    """The runs of a sweep file, or those whose names are in `only`, in the file's order.

    Raises:
      UserError: the file or its config is missing or broken, a run's field or value is not possible (the
        message lists all of them), two runs have one name, or there is no run of a name in `only`.
    """
    base, overrides = _load(path)
    config = _base_config(path, base)
    runs, problems = [], []
    for number, override in enumerate(overrides):
        try:
            runs.append(_run(base, config, override))
        except UserError as error:
            problems.append(f"run {number + 1}, {override}: {error}")
    if problems:
        listed = "\n  ".join(line for problem in problems for line in problem.splitlines())
        raise UserError(
            f"--sweep={path}: {len(problems)} of {len(overrides)} runs cannot be made, and nothing was "
            f"started:\n  {listed}"
        )
    _refuse_one_name_for_two(path, runs)
    names = [run.name for run in runs]
    for name in only:
        if name not in names:
            raise UserError(f"--only={name}: {path} has no such run; there are {', '.join(names)}")
    return [run for run in runs if not only or run.name in only]


def _load(path: str) -> tuple[str, list[Any]]:
    if not os.path.isfile(path):
        raise UserError(f"--sweep={path}: there is no such file in {os.getcwd()}; see configs/sweeps/")
    try:
        found = runpy.run_path(path)
        base, sweep = found.get("BASE_CONFIG"), found.get("sweep")
        overrides = sweep() if callable(sweep) else None
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        place = f"line {frames[-1].lineno}: " if frames else ""
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(f"--sweep={path}: {place}{kind}{error}") from error
    if not isinstance(base, str) or not callable(sweep):
        raise UserError(
            f"--sweep={path}: it must define sweep(), and BASE_CONFIG, such as 'configs/fashion_mnist.py'"
        )
    if not isinstance(overrides, list) or not overrides:
        raise UserError(
            f"--sweep={path}: sweep() must return a list of overrides, such as [{{'seed': 0}}, {{'seed': 1}}]"
        )
    return base, overrides


def _base_config(path: str, base: str) -> ConfigDict:
    values = flags.FlagValues()
    holder = cli.define_config(values)
    try:
        cli.parse(["sweep", f"--config={base}"], values)
    except UserError as error:
        raise UserError(f"--sweep={path}: its BASE_CONFIG: {error}") from error
    return holder.value


def _run(base: str, config: ConfigDict, override: Any) -> Run:
    if not isinstance(override, Mapping):
        raise UserError("give a dict from fields to values, such as {'model.channels': 64}")
    given = override.get(NAME)
    if NAME in override and (not isinstance(given, str) or not given.strip()):
        raise UserError(f"{NAME!r} is that of the run: give a few words in quotes, or leave it out")
    config, known = copy.deepcopy(config), field_names(config)
    typed = {field: _set(config, known, field, value) for field, value in override.items() if field != NAME}
    try:
        validate(config)
    except ConfigError as error:
        raise UserError(str(error)) from error
    name = run_name(typed | ({NAME: given} if given else {}), known)
    return Run(name, base, typed, config)


def _set(config: ConfigDict, known: Collection[str], field: Any, value: Any) -> Any:
    """Sets a field and returns its value, as one of the field's type where nothing is lost by that."""
    if field not in known:
        raise UserError(f"config.{field} is not a field{did_you_mean(str(field), known)}")
    *sections, key = field.split(".")
    for section in sections:
        config = config[section]
    present = config[key]
    if isinstance(present, ConfigDict):
        first = next(iter(present))
        raise UserError(f"config.{field} is a section: name its fields, such as {field}.{first}")
    value = value.item() if hasattr(value, "item") else value  # NumPy's
    if isinstance(present, float) and type(value) is int:
        value = float(value)
    elif isinstance(present, tuple) and isinstance(value, list):
        value = tuple(value)
    with config.ignore_type():
        config[key] = value  # validate says what is wrong with its type
    return value


def _refuse_one_name_for_two(path: str, runs: Sequence[Run]) -> None:
    seen: dict[str, int] = {}
    for number, run in enumerate(runs):
        first = seen.setdefault(run.name.casefold(), number)  # some file systems don't tell a from A
        if first != number:
            raise UserError(
                f"--sweep={path}: runs {first + 1} and {number + 1} are both called {run.name!r}: drop one, "
                f"or give each a {NAME!r} of its own"
            )


def _as_flag(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({''.join(f'{item},' for item in value)})"
    return str(value).lower() if isinstance(value, bool) else str(value)
