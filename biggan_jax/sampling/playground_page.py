"""Playground page: sample a class, choose two of the images, interpolate from one to the other.

Needs the extra `playground` (Gradio). The page loads nothing from other machines, and sends nothing to them.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr  # pyright: ignore[reportMissingImports]
import numpy as np

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.animation import write_gif
from biggan_jax.sampling.playground_images import (
    COLUMNS,
    ImageSource,
    class_choices,
    download_path,
    image_grid,
    latent_and_image,
    truncation_choice,
)
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import enlarge
from biggan_jax.sampling.truncation import describe, untruncated

MOST_IMAGES = 32
MOST_STEPS = 24
FRAMES_PER_SECOND = 8
LARGEST_SEED = 2**32 - 1
# The page scrolls, not the gallery. A phone shows two images side by side.
STYLE = """
#gallery .grid-wrap { overflow-y: visible; max-height: none; }
@media (max-width: 640px) { #gallery .grid-container { grid-template-columns: 1fr 1fr } }
"""
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none to fetch


class _Controls(NamedTuple):
    """Inputs of a sample, in the order of the arguments of `_sample`."""

    label: gr.Dropdown
    seed: gr.Number
    truncation: gr.Slider
    untruncated: gr.Checkbox
    count: gr.Slider


def playground_page(sampler: Sampler) -> gr.Blocks:
    """Builds the page; `.launch()` serves it.

    Args:
      sampler: Generator of the page, which offers all its classes and truncations.
    """
    title = f"BigGAN, {sampler.resolution} px, {sampler.num_classes} classes"
    with gr.Blocks(title=title, analytics_enabled=False) as blocks:
        sources, chosen = gr.State([]), gr.State([])
        gr.Markdown(f"## {title}")
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                controls = _controls(sampler)
                button = gr.Button("Sample", variant="primary", elem_id="sample")
            with gr.Column(scale=3):
                gr.Markdown("Click two images to interpolate from the first to the second.")
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
                sheet_download = gr.DownloadButton("Download the sheet (PNG)", size="sm")
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                with gr.Row():
                    ends = [_end(name) for name in ("from", "to")]
                steps = gr.Slider(2, MOST_STEPS, value=8, step=1, label="steps")
                interpolate = gr.Button("Interpolate", interactive=False, elem_id="interpolate")
            with gr.Column(scale=3):
                gr.Markdown("Interpolation:")
                strip = gr.Image(
                    show_label=False,
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="strip",
                    format="png",
                )
                animation = gr.DownloadButton("Download as GIF", size="sm", interactive=False)

        def on_sample(
            label: int, seed: int | None, truncation: float, is_untruncated: bool, count: int
        ) -> tuple[list[np.ndarray], list[ImageSource], str]:
            if is_untruncated:
                truncation = untruncated(sampler.truncation_kind)
            return _sample(sampler, label, int(seed or 0), truncation, count)

        def on_choice(sources: list[tuple], chosen: list[tuple], event: gr.SelectData) -> tuple[Any, ...]:
            chosen = [*chosen, sources[event.index]][-2:]
            shown = [enlarge(latent_and_image(sampler, ImageSource(*source))[1])[0] for source in chosen]
            return chosen, *shown, *[None] * (2 - len(shown)), gr.Button(interactive=len(chosen) == 2)

        def on_interpolation(chosen: list[tuple], steps: int) -> tuple[np.ndarray, gr.DownloadButton]:
            strip, path = _interpolate(sampler, [ImageSource(*source) for source in chosen], int(steps))
            return strip, gr.DownloadButton(value=path, interactive=True)

        gr.on(
            [blocks.load, button.click, *(control.change for control in controls)],
            on_sample,
            [*controls],
            [gallery, sources, sheet_download],
            trigger_mode="always_last",
        )
        controls.untruncated.change(
            lambda is_untruncated: gr.Slider(visible=not is_untruncated),
            controls.untruncated,
            controls.truncation,
        )
        gallery.select(on_choice, [sources, chosen], [chosen, *ends, interpolate])
        interpolate.click(on_interpolation, [chosen, steps], [strip, animation])
    return blocks


def _controls(sampler: Sampler) -> _Controls:
    """Makes the controls; the slider of the truncation is visible unless "no truncation" is ticked."""
    choice = truncation_choice(sampler)
    label = gr.Dropdown(class_choices(sampler), value=0, label="class", elem_id="class")
    seed = gr.Number(0, label="seed", precision=0, minimum=0, maximum=LARGEST_SEED, elem_id="seed")
    without = gr.Checkbox(
        choice.untruncated,
        label="no truncation",
        visible=choice.has_checkbox,
        interactive=choice.has_slider,
        elem_id="untruncated",
    )
    truncation = gr.Slider(
        choice.lowest,
        choice.highest,
        value=choice.highest,
        label="truncation",
        info="lower: better images, less variety",
        visible=choice.has_slider and not choice.untruncated,
        elem_id="truncation",
    )
    count = gr.Slider(1, MOST_IMAGES, value=2 * COLUMNS, step=1, label="images")
    return _Controls(label, seed, truncation, without, count)


def _end(name: str) -> gr.Image:
    return gr.Image(
        label=name,
        interactive=False,
        height=160,
        min_width=100,
        buttons=["download"],
        elem_id=name,
        format="png",
    )


def _sample(
    sampler: Sampler, label: int, seed: int, truncation: float, count: int
) -> tuple[list[np.ndarray], list[ImageSource], str]:
    """Samples images; returns them enlarged, with their sources and the path of their sheet."""
    with _shown_errors():
        images = sampler.sample([label] * count, truncation, seed)
    sources = [ImageSource(label, seed, position, truncation) for position in range(count)]
    titles = [sampler.name(label), describe(sampler.truncation_kind, truncation), f"seed {seed}"]
    path = download_path(f"{sampler.name(label)}.png")
    image_grid(images, titles).save(path)
    return list(enlarge(images)), sources, path


def _interpolate(sampler: Sampler, ends: list[ImageSource], steps: int) -> tuple[np.ndarray, str]:
    """Interpolates between two sources; returns the strip of images and the path of the GIF.

    Between two truncations the latents are interpolated; the statistics are of the first.
    """
    z = np.concatenate([latent_and_image(sampler, end)[0] for end in ends])
    first, last = ends
    with _shown_errors():
        images = sampler.interpolate((first.label, last.label), steps=steps, truncation=first.truncation, z=z)
    tiles, path = enlarge(images), download_path("interpolation.gif")
    with open(path, "wb") as file:
        write_gif(file, tiles, FRAMES_PER_SECOND)
    return np.concatenate(list(tiles), axis=1), path


@contextlib.contextmanager
def _shown_errors() -> Iterator[None]:
    """Shows user errors in a box on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error)) from error
