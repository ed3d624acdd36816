"""Reads a sweep file and checks all of its runs before the first one starts.

A sweep file defines `BASE_CONFIG`, the path of a config file as --config takes it, and `sweep()`, which
returns a list of overrides (combine.py).
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
from biggan_jax.runtime import cli, shipped
from biggan_jax.runtime.config_file import did_you_mean, field_names
from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.naming import NAME, differing_fields, run_name


class Run(NamedTuple):
    """One run of a sweep.

    Attributes:
      name: Name of the run's directory in the workdir of the sweep.
      base: Path of the config file, as --config takes it.
      override: Values that the sweep file sets, by field and of the field's type.
      config: Complete config.
    """

    name: str
    base: str
    override: dict[str, Any]
    config: ConfigDict

    def flags(self) -> list[str]:
        """Returns the flags that give a command of the package this config."""
        fields = (f"--config.{field}={_format_flag(value)}" for field, value in self.override.items())
        return [f"--config={self.base}", *fields]


def read_sweep(path: str, only: Sequence[str] = ()) -> list[Run]:
    """Reads the runs of a sweep file.

    Args:
      path: Path of a sweep file, or name of a shipped one, as `shipped.find` takes it.
      only: Names of the runs to keep; empty keeps all.

    Returns:
      Runs in the order of the file.

    Raises:
      UserError: The file or its config is missing or broken, a run sets an impossible field or value (the
        message lists all of them), two runs have one name, or `only` names a run that does not exist.
    """
    base, overrides = _load(path)
    config = _base_config(path, base)
    runs, problems = [], []
    for number, override in enumerate(overrides):
        try:
            runs.append(_make_run(base, config, override))
        except UserError as error:
            problems.append(f"run {number + 1}, {override}: {error}")
    if problems:
        listed = "\n  ".join(line for problem in problems for line in problem.splitlines())
        raise UserError(
            f"--sweep={path}: {len(problems)} of {len(overrides)} runs are impossible; nothing was "
            f"started:\n  {listed}"
        )
    runs = _named(runs)
    _refuse_duplicate_names(path, runs)
    names = [run.name for run in runs]
    for name in only:
        if name not in names:
            raise UserError(f"--only={name}: {path} has no such run; it has {', '.join(names)}")
    return [run for run in runs if not only or run.name in only]


def _load(path: str) -> tuple[str, list[Any]]:
    file = shipped.find(path, shipped.SWEEPS)
    if file is None:
        raise UserError(
            f"--sweep={path}: no such file in {os.getcwd()}, and no sweep of this name"
            f"{shipped.suggestion(path, shipped.SWEEPS)}"
        )
    try:
        module = runpy.run_path(str(file))
        base, sweep = module.get("BASE_CONFIG"), module.get("sweep")
        overrides = sweep() if callable(sweep) else None
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
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


def _make_run(base: str, config: ConfigDict, override: Any) -> Run:
    """Makes a run with the name that its override gives, or with an empty name."""
    if not isinstance(override, Mapping):
        raise UserError("give a dict from fields to values, such as {'model.channels': 64}")
    given = override.get(NAME)
    if NAME in override and (not isinstance(given, str) or not given.strip()):
        raise UserError(f"{NAME!r} names the run: give a few words in quotes, or leave it out")
    config, known = copy.deepcopy(config), field_names(config)
    typed = {field: _set(config, known, field, value) for field, value in override.items() if field != NAME}
    try:
        validate(config)
    except ConfigError as error:
        raise UserError(str(error)) from error
    return Run(given or "", base, typed, config)


def _named(runs: Sequence[Run]) -> list[Run]:
    """Names each run after the fields in which the runs differ, or after all that it sets if none differ."""
    known = field_names(runs[0].config)
    shown = differing_fields([run.config for run in runs]) or known  # of equal runs, all that they set

    def name(run: Run) -> str:
        fields = {field: value for field, value in run.override.items() if field in shown}
        return run_name(fields | ({NAME: run.name} if run.name else {}), known)

    return [run._replace(name=name(run)) for run in runs]


def _set(config: ConfigDict, known: Collection[str], field: Any, value: Any) -> Any:
    """Sets a field and returns its value, converted to the field's type where this loses nothing."""
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
        config[key] = value  # `validate` reports a wrong type
    return value


def _refuse_duplicate_names(path: str, runs: Sequence[Run]) -> None:
    first_of: dict[str, int] = {}
    for number, run in enumerate(runs):
        first = first_of.setdefault(run.name.casefold(), number)  # some file systems ignore case
        if first != number:
            raise UserError(
                f"--sweep={path}: runs {first + 1} and {number + 1} are both named {run.name!r}: drop one, "
                f"or give each its own {NAME!r}"
            )


def _format_flag(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({''.join(f'{item},' for item in value)})"
    return str(value).lower() if isinstance(value, bool) else str(value)
