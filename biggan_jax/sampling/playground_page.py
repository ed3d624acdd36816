"""A page to play with a generator: draw a class, choose two of its pictures, go from one to the other.

Needs the extra `playground` (Gradio). Nothing on the page comes from elsewhere, and nothing is sent anywhere.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.animation import write_gif
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import enlarge, sheet
from biggan_jax.sampling.truncation import describe, untruncated

MOST_PICTURES, COLUMNS = 32, 4
MOST_STEPS = 24
FRAMES_PER_SECOND = 8
LARGEST_SEED = 2**32 - 1
# On a phone, as many pictures side by side as are whole.
STYLE = "@media (max-width: 640px) { #gallery .grid-container { grid-template-columns: 1fr 1fr } }"
# None that a browser would have to fetch.
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}

Place = tuple[int, int, int, float]  # label, seed, position in its sequence, truncation


def playground_page(generator: Sampler) -> gr.Blocks:
    """The page; `.launch()` serves it.

    Args:
      generator: all its classes and truncations can be chosen.
    """
    names = [(f"{label}: {generator.name(label)}", label) for label in range(generator.num_classes)]
    if not generator.class_names:
        names = [(generator.name(label), label) for label in range(generator.num_classes)]
    whole = untruncated(generator.truncation_kind)
    limits = [t for t in generator.truncations if t > 0 or generator.truncation_kind == "scale"]
    title = f"BigGAN, {generator.resolution} px, {generator.num_classes} classes"

    with gr.Blocks(title=title, analytics_enabled=False) as blocks:
        places, chosen = gr.State([]), gr.State([])
        gr.Markdown(f"## {title}")
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                label = gr.Dropdown(names, value=0, label="class", elem_id="class")
                seed = gr.Number(
                    0, label="seed", precision=0, minimum=0, maximum=LARGEST_SEED, elem_id="seed"
                )
                limit = gr.Slider(
                    min(limits, default=0),
                    max(limits, default=1),
                    value=max(limits, default=1),
                    label="truncation",
                    info="less: better pictures, and more alike",
                    visible=bool(limits),
                    elem_id="truncation",
                )
                free = gr.Checkbox(
                    generator.truncation == whole,
                    label="no truncation",
                    visible=whole in generator.truncations,
                    interactive=bool(limits),
                    elem_id="untruncated",
                )
                count = gr.Slider(1, MOST_PICTURES, value=2 * COLUMNS, step=1, label="pictures")
                draw = gr.Button("Draw", variant="primary", elem_id="draw")
            with gr.Column(scale=3):
                gr.Markdown("Click one picture, then another, to go from the first to the second.")
                gallery = gr.Gallery(
                    show_label=False,
                    columns=COLUMNS,
                    format="png",
                    object_fit="contain",
                    allow_preview=False,
                    height=None,
                    buttons=[],
                    elem_id="gallery",
                )
                whole_sheet = gr.DownloadButton("Download the sheet (PNG)", size="sm")
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                with gr.Row():
                    ends = [
                        gr.Image(
                            label=name,
                            interactive=False,
                            height=160,
                            min_width=100,
                            buttons=["download"],
                            elem_id=name,
                            format="png",
                        )
                        for name in ("from", "to")
                    ]
                steps = gr.Slider(2, MOST_STEPS, value=8, step=1, label="steps")
                go = gr.Button("Interpolate", interactive=False, elem_id="interpolate")
            with gr.Column(scale=3):
                gr.Markdown("From one to the other:")
                strip = gr.Image(
                    show_label=False,
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="strip",
                    format="png",
                )
                animation = gr.DownloadButton("Download as GIF", size="sm", interactive=False)

        def on_draw(
            label: int, seed: int | None, limit: float, free: bool, count: int
        ) -> tuple[list[np.ndarray], list[Place], str]:
            truncation = whole if free else limit
            with _shown_errors():
                images = generator.sample([label] * count, truncation, int(seed or 0))
            tiles = enlarge(images)
            found = [(label, int(seed or 0), position, truncation) for position in range(count)]
            titles = [generator.name(label), describe(generator.truncation_kind, truncation), f"seed {seed}"]
            return list(tiles), found, _saved(_grid(images, titles), f"{generator.name(label)}.png")

        def on_choice(places: list[Place], chosen: list[Place], event: gr.SelectData) -> tuple[Any, ...]:
            chosen = [*chosen, places[event.index]][-2:]
            shown = [enlarge(_at(generator, place)[1])[0] for place in chosen]
            shown += [None] * (2 - len(shown))
            return chosen, *shown, gr.Button(interactive=len(chosen) == 2)

        def on_interpolation(chosen: list[Place], steps: int) -> tuple[np.ndarray, gr.DownloadButton]:
            # Between two truncations go the latents; the statistics are those of the first.
            z = np.concatenate([_at(generator, place)[0] for place in chosen])
            with _shown_errors():
                images = generator.interpolate(
                    (chosen[0][0], chosen[1][0]), steps=int(steps), truncation=chosen[0][3], z=z
                )
            tiles, path = enlarge(images), _path("interpolation.gif")
            with open(path, "wb") as file:
                write_gif(file, tiles, FRAMES_PER_SECOND)
            return np.concatenate(list(tiles), axis=1), gr.DownloadButton(value=path, interactive=True)

        wishes = [label, seed, limit, free, count]
        gr.on(
            [blocks.load, draw.click, *(wish.change for wish in wishes)],
            on_draw,
            wishes,
            [gallery, places, whole_sheet],
            trigger_mode="always_last",
        )
        limit.input(lambda: False, None, free)
        gallery.select(on_choice, [places, chosen], [chosen, *ends, go])
        go.click(on_interpolation, [chosen, steps], [strip, animation])
    return blocks


def _at(generator: Sampler, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """The latent and the image of a place, f32[1, latent_dim] and u8[1, H, W, 3]."""
    label, seed, position, truncation = place
    z = generator.latents(1, truncation, seed, position)
    return z, generator.images(z, [label], truncation)


def _grid(images: np.ndarray, titles: list[str]) -> Image.Image:
    columns = min(COLUMNS, len(images))
    missing = -len(images) % columns
    filled = np.pad(images, ((0, missing), *[(0, 0)] * 3), constant_values=255)
    titles = (titles + [""] * columns)[:columns]
    return sheet(filled.reshape(-1, columns, *images.shape[1:]), titles)


def _saved(picture: Image.Image, name: str) -> str:
    path = _path(name)
    picture.save(path)
    return path


def _path(name: str) -> str:
    """Where a download of this name is put; the class's name may hold anything."""
    safe = "".join(letter if letter.isalnum() or letter in " .-" else "_" for letter in name)
    return str(Path(tempfile.mkdtemp(prefix="biggan_jax-")) / safe)


@contextlib.contextmanager
def _shown_errors() -> Iterator[None]:
    """What the person can put right, in a box on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error)) from error
