"""User errors, and the exit codes of all commands and launchers.

This module imports nothing, so that launchers and the config can use it before JAX or absl is loaded.
"""

EXIT_ERROR = 2  # a user error, which another start would only repeat
EXIT_RESUMABLE = 75  # sysexits.h's EX_TEMPFAIL: the state is saved, and launchers start the command again
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what shells expect after Ctrl-C
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, the signal that ends other programs when a pipe's reader leaves


class UserError(ValueError):
    """A mistake that the user can correct; the message says what was wrong and what to do.

    Commands print it as `error: …`, without a traceback, and exit with `EXIT_ERROR`.
    """
