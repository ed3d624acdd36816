"""Serves a web page on this machine that samples from an exported generator.

  python -m biggan_jax.playground exports/garments
  python -m biggan_jax.playground exports/imagenet128 --port=8080

On the page, choose a class, a seed and a truncation; click two of the images to interpolate between them. The
page is at http://127.0.0.1:7860, for this machine alone; --host=0.0.0.0 opens it to the network.

The server answers its own page alone, takes no files, and removes its temporary folder when it ends.

The page needs Gradio: pip install 'biggan-jax[playground]'

Exit codes: 0 after Ctrl-C; 2 a user error.
"""

import importlib.util
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from biggan_jax.sampling.sampler import Sampler

WEIGHTS = command_flags.path(
    "weights",
    "Folder that biggan_jax.export or biggan_jax.import_weights has written; "
    "'--weights=' may be left out, as in the examples",
)
HOST = command_flags.text(
    "host", "127.0.0.1", "Address to listen at; 0.0.0.0 = all addresses of this machine"
)
PORT = command_flags.integer("port", 7860, "Port to listen at", ranges.up_to(65_535))


def main(argv: Sequence[str]) -> int:
    """Serves the page until Ctrl-C; returns the exit code."""
    folder = _folder(argv[1:])
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs Gradio: pip install 'biggan-jax[playground]'")
    import biggan_jax

    generator = biggan_jax.load(folder)
    with tempfile.TemporaryDirectory(prefix="biggan_jax-playground-") as folder:  # for its owner alone
        _serve(generator, folder)
    return 0


def _serve(generator: "Sampler", folder: str) -> None:
    """Serves the page until Ctrl-C; all its files are in `folder`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # these, before Gradio is imported
    os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = folder
    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that the folder is removed
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    _silence_requests()
    import gradio as gr  # pyright: ignore[reportMissingImports]  # an extra
    from starlette.middleware import Middleware  # pyright: ignore[reportMissingImports]  # Gradio has it

    from biggan_jax.sampling.playground_guard import PageGuard
    from biggan_jax.sampling.playground_page import FONTS, STYLE, playground_page

    print("compiling; Ctrl-C ends", flush=True)
    try:
        playground_page(generator).launch(
            server_name=HOST.value,
            server_port=PORT.value,
            theme=gr.themes.Default(**FONTS),  # pyright: ignore[reportPrivateImportUsage, reportArgumentType]
            css=STYLE,
            show_error=True,
            ssr_mode=False,  # no second server in front of this one
            app_kwargs={"middleware": [Middleware(PageGuard, host=HOST.value)]},
        )
    except OSError as error:
        raise UserError(
            f"cannot listen at {HOST.value}:{PORT.value} ({error}); choose another --port or --host"
        ) from error


def _silence_requests() -> None:
    """Keeps Gradio's requests to its own server out of the log, which shows messages of level INFO."""
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _folder(names: Sequence[str]) -> str:
    """Returns the folder of the export, which is given alone or by --weights."""
    names = [*names, *([] if WEIGHTS.value is None else [WEIGHTS.value])]
    if not names:
        raise UserError(
            "give an export: python -m biggan_jax.playground EXPORT, with the folder that "
            "biggan_jax.export or biggan_jax.import_weights has written"
        )
    if len(names) > 1:
        raise UserError(f"{' and '.join(names)}: the page shows one export; name one, once")
    return names[0]


if __name__ == "__main__":
    cli.run(main, arguments=True)
