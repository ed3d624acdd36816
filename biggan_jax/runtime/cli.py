"""The command line that all commands share: the flag `--config`, `--help`, and errors without a traceback.

A command is a thin module whose docstring holds its examples (`--help` shows it) and which ends in
`cli.run(main)`. It imports JAX inside `main`, so that a mistake on the command line is refused at once.
"""

import functools
import logging
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from absl import app, flags
from ml_collections import ConfigDict
from ml_collections.config_flags import DEFINE_config_file

from biggan_jax.runtime import command_flags, ranges
from biggan_jax.runtime.broken_pipe import silent_without_reader
from biggan_jax.runtime.config_file import ConfigFile
from biggan_jax.runtime.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError
from biggan_jax.runtime.help_text import help_text, is_required
from biggan_jax.runtime.interruption import end_quietly
from biggan_jax.runtime.memory import enough_memory
from biggan_jax.runtime.rendezvous import ARRIVAL_SECONDS
from biggan_jax.runtime.shipped import shipped_names

T = TypeVar("T")
FLAGS = flags.FLAGS
FLAG_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "multi tuple": "a tuple of whole numbers in quotes, such as '(8,4,2,1)'",
}
HELP = ("--help", "-help", "-h", "--h", "-?", "--?")
# Errors of a --flagfile that is missing or no text.
UNREADABLE = (flags.CantOpenFlagFileError, OSError, UnicodeError, RecursionError)
PROCESS_FLAGS = ("coordinator_address", "num_processes", "process_id", "arrival_seconds")
GROUPS = {"Flags of a run in several processes, which TPU slices and SLURM set by themselves": PROCESS_FLAGS}

# A flag that is defined here belongs to the command that asks for it, which lists it in its --help.
flags.disclaim_key_flags()


class ProcessPlace(NamedTuple):
    """Place of this process among the processes of a run; None where JAX finds out by itself.

    Attributes:
      coordinator_address: HOST:PORT where the first process listens.
      num_processes: Number of processes.
      process_id: Number of this process, from 0.
      arrival_seconds: Time in which all processes have to come.
    """

    coordinator_address: str | None
    num_processes: int | None
    process_id: int | None
    arrival_seconds: float


def define_config(
    flag_values: flags.FlagValues = FLAGS, required: bool = True
) -> flags.FlagHolder[ConfigDict]:
    """Defines the flag `--config=NAME`, and with it `--config.field=value` for every field of the config.

    Args:
      flag_values: Flags of the command.
      required: Whether the command refuses to start without a config.
    """
    try:
        holder = DEFINE_config_file(
            "config",
            help_string="Name of a shipped config, such as imagenet128, or path of your own file; "
            "--config.FIELD=VALUE after it changes a field, such as --config.model.channels=64",
            flag_values=flag_values,
        )
    except (flags.Error, *UNREADABLE) as error:  # the definition already reads the files of --flagfile
        print(f"error: {_unreadable(error)}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    flag_values["config"].parser = ConfigFile(required)
    return holder


def define_processes() -> Callable[[], ProcessPlace]:
    """Defines the flags that give a process its place among several; returns the function that reads them."""
    command_flags.text(
        "coordinator_address", None, "Address HOST:PORT at which the first process listens, the same for all"
    )
    command_flags.integer("num_processes", None, "Number of processes of the run", ranges.up_to(100_000))
    command_flags.integer(
        "process_id", None, "Number of this process, from 0 to num_processes - 1", ranges.from_0_up_to(99_999)
    )
    command_flags.number(
        "arrival_seconds",
        ARRIVAL_SECONDS,
        "Seconds in which all processes have to come; after that the command names those that did not",
        ranges.Number(minimum=1, maximum=86_400),
    )
    for name in PROCESS_FLAGS:
        flags.declare_key_flag(name)
    return lambda: ProcessPlace(
        FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id, FLAGS.arrival_seconds
    )


def given(flag: flags.FlagHolder[T | None]) -> T:
    """Returns the value of a flag that the command has already found to be set."""
    assert flag.value is not None, flag.name
    return flag.value


def run(
    main: Callable[[Sequence[str]], int | None],
    arguments: bool = False,
    parser: Callable[[Sequence[str]], Sequence[str]] | None = None,
) -> None:
    """Parses the command line, calls `main(argv)` and exits with the code that it returns.

    A `UserError`, from the command line or from `main`, is printed as `error: …` without a traceback, and the
    exit code is 2. The exit is silent, with the code that shells give, after Ctrl-C, and if the reader of a
    pipe leaves, as `… | head` does. Every other exception keeps its traceback.

    Args:
      main: Function of the program's name and, with `arguments`, the arguments that are no flags.
      arguments: Whether the command takes arguments that are no flags, such as names of files.
      parser: Function that parses the command line in place of `parse`; it returns the argument of `main`.
    """
    # On a machine without accelerators, this logger lists at length the ones that JAX did not find.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
    try:
        end_quietly()
        with (
            silent_without_reader(),
            enough_memory(lambda: "end other processes, or use a machine with more"),
        ):
            try:
                app.run(main, flags_parser=parser or functools.partial(parse, arguments=arguments))
            except SystemExit as end:
                if end.code == EXIT_RESUMABLE:  # a second signal must not turn "saved" into "killed"
                    for number in (signal.SIGTERM, signal.SIGHUP):
                        signal.signal(number, signal.SIG_IGN)
                raise
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)


def parse(argv: Sequence[str], flag_values: flags.FlagValues = FLAGS, arguments: bool = False) -> list[str]:
    """Parses `argv` into `flag_values`, and returns the words that are no flags.

    Args:
      argv: Words of the command line, the program's name first.
      flag_values: Flags of the command.
      arguments: Whether words that are no flags may follow the program's name, anywhere on the line.

    Raises:
      UserError: A flag or config field is unknown, a value is of the wrong type, the config file is missing
        or broken, no config is given, or an argument that is not a flag stands where none may be.
    """
    if flag_values is FLAGS:
        _answer_help(argv)
    try:
        rest = flag_values(argv)
    except SystemExit as asked:  # --helpfull and its kin: absl exits with 1, as if asking were a mistake
        raise SystemExit(0) from asked
    except flags.CantOpenFlagFileError as error:
        raise UserError(_unreadable(error)) from error
    except flags.Error as error:
        if isinstance(error.__context__, UserError):  # our own error, which absl has wrapped
            raise error.__context__ from None
        config_given = any(re.match(r"--?config(=|$)", word) for word in argv)
        missing = None if config_given else _missing_config(argv, flag_values)
        said = missing or _expected(error, flag_values) or f"{error} (--help lists the flags)"
        raise UserError(said) from error
    except UNREADABLE as error:
        raise UserError(_unreadable(error)) from error
    if missing := _missing_config(argv, flag_values):
        raise UserError(missing)
    if len(rest) > 1 and not arguments:
        raise UserError(f"{rest[1]!r} is not a flag: write --name=value (--help lists the flags)")
    return rest


def _unreadable(error: Exception) -> str:
    reason = str(error).removeprefix("ERROR:: Unable to open flagfile: ")
    return f"--flagfile cannot be read: {reason}; give a text file with a flag on each line"


def _answer_help(argv: Sequence[str]) -> None:
    """Prints the help of the command and exits, if a word before `--` asks for it."""
    words = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
    if any(word in HELP for word in words):
        docstring = sys.modules["__main__"].__doc__ or f"{argv[0]} [flags]"
        print(help_text(docstring, FLAGS.get_key_flags_for_module(sys.argv[0]), GROUPS), end="")
        raise SystemExit(0)


def _missing_config(argv: Sequence[str], flag_values: flags.FlagValues) -> str | None:
    """Returns the message for a command without the config that it, or an override in `argv`, needs."""
    if "config" not in flag_values or flag_values["config"].value is not None:
        return None
    overrides = any(re.match(r"--?(no)?config\.", word) for word in argv)
    if not overrides and not is_required(flag_values["config"]):
        return None
    names = ", ".join(shipped_names())
    return f"--config=NAME is missing: choose one of {names}, or give the path of your own file"


def _expected(error: flags.Error, flag_values: flags.FlagValues) -> str | None:
    """Returns in short words which value the flag in `error` takes; None if absl's own words must do."""
    if missing := re.search(r"Flag --([\w.]+) must have a value other than None", str(error)):
        return f"--{missing[1]} is missing: {flag_values[missing[1]].help}"
    given = re.match(r"flag --([\w.]+)=(.*?): ", str(error))
    if given is None or given[1] not in flag_values:
        return None
    expected = FLAG_TYPES.get(flag_values[given[1]].flag_type())
    return expected and f"--{given[1]}={given[2]}: give {expected}"
