"""What every command shares: the flag `--config`, and errors that speak to the person at the keyboard.

A command is a thin module whose docstring holds its examples (`--help` shows it) and which ends in
`cli.run(main)`.
"""

import functools
import logging
import os
import re
import select
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from biggan_jax.runtime.config_file import ConfigFile
from biggan_jax.runtime.errors import EXIT_BROKEN_PIPE, EXIT_ERROR, UserError

FLAGS = flags.FLAGS
FLAG_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "multi tuple": "a tuple of whole numbers in quotes, such as '(8,4,2,1)'",
}

# A flag that is defined here belongs to the command that asks for it, which lists it in its --help.
flags.disclaim_key_flags()


def define_config(flag_values: flags.FlagValues = FLAGS) -> flags.FlagHolder[ConfigDict]:
    """Defines the required flag `--config=FILE`, with `--config.field=value` for every field in the file."""
    holder = config_flags.DEFINE_config_file(
        "config",
        help_string="a file of configs/, or your own; after it --config.FIELD=VALUE changes a field, "
        "for example --config.model.channels=64",
        flag_values=flag_values,
    )
    flag_values["config"].parser = ConfigFile()
    return holder


def define_processes() -> Callable[[], tuple[str | None, int | None, int | None]]:
    """Defines the flags that tell one process of several its place; what is returned reads them."""
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "of a run of several processes, HOST:PORT where the first listens; TPU slices and SLURM know it",
    )
    flags.DEFINE_integer("num_processes", None, "how many processes the run has", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "which of them this is, from 0", lower_bound=0)
    for name in ("coordinator_address", "num_processes", "process_id"):
        flags.declare_key_flag(name)
    return lambda: (FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id)


def run(main: Callable[[Sequence[str]], int | None], arguments: bool = False) -> None:
    """Parses the command line, calls `main(argv)` and leaves the process with what it returns.

    With `arguments`, `argv` may hold more than the program's name: what is no flag, such as names of files.
    A `UserError`, from the command line or from `main`, is printed as `error: …` without a traceback, and the
    exit code is 2. Where the reader of a pipe has left, as `… | head` does, the exit is silent, with the code
    that shells give. Every other exception keeps its traceback.
    """
    # On a machine without accelerators it tells, at length, which ones it looked for and did not find.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
    try:
        try:
            app.run(main, flags_parser=functools.partial(parse, arguments=arguments))
        except SystemExit:
            sys.stdout.flush()  # what it raises at the interpreter's own exit could not be caught
            raise
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except (BrokenPipeError, SystemExit) as error:
        if not _reader_left(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)


def _reader_left(error: BaseException) -> bool:
    """Whether the error is that standard output is a pipe, and nobody reads it any more."""
    if isinstance(error, SystemExit):  # rich has caught the error itself, and seen to standard output
        return isinstance(error.__context__, BrokenPipeError)
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))  # otherwise the pipe is another one, or a socket


def parse(argv: Sequence[str], flag_values: flags.FlagValues = FLAGS, arguments: bool = False) -> list[str]:
    """Parses `argv`, the program's name first, into `flag_values`, and returns what is left.

    That is the name and, with `arguments`, all that is no flag, wherever it stands.

    Raises:
      UserError: an unknown flag or config field, a value of the wrong type, a config file that is missing
        or broken, no config file at all, or an argument that is not a flag where there may be none.
    """
    try:
        rest = flag_values(argv)
    except SystemExit as asked:  # --help and its kin: absl leaves with 1, as if asking were a mistake
        raise SystemExit(0) from asked
    except flags.Error as error:
        if isinstance(error.__context__, UserError):  # ours, which absl has put its own words around
            raise error.__context__ from None
        config_given = any(re.match(r"--?config(=|$)", word) for word in argv)
        if config_given or "config" not in flag_values:
            raise UserError(_expected(error, flag_values) or f"{error} (--help lists the flags)") from error
    if "config" in flag_values and flag_values["config"].value is None:
        raise UserError("--config=FILE is missing: choose one of configs/, such as configs/fashion_mnist.py")
    if len(rest) > 1 and not arguments:
        raise UserError(f"{rest[1]!r} is not a flag: write --name=value (--help lists the flags)")
    return rest


def _expected(error: flags.Error, flag_values: flags.FlagValues) -> str | None:
    """What the flag whose value is the `error` would take, in fewer words than absl's."""
    if missing := re.search(r"Flag --([\w.]+) must have a value other than None", str(error)):
        return f"--{missing[1]} is missing: {flag_values[missing[1]].help}"
    given = re.match(r"flag --([\w.]+)=(.*?): ", str(error))
    if given is None or given[1] not in flag_values:
        return None
    expected = FLAG_TYPES.get(flag_values[given[1]].flag_type())
    return expected and f"--{given[1]}={given[2]}: give {expected}"
