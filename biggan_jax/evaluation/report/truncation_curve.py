"""FID and IS over truncations: what variety costs in fidelity (Brock et al. 2019, section 3.1 and figure 17).

Each truncation has standing statistics of its own and as many samples.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from biggan_jax.evaluation.image_sets import GeneratedImages
from biggan_jax.evaluation.networks.extraction import fid_and_is
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.scores.frechet import FeatureStatistics
from biggan_jax.evaluation.scoring import as_score
from biggan_jax.sampling.truncation import TruncationKind, describe, untruncated
from biggan_jax.training.monitoring.curves import BLUE, DPI, GREY, ORANGE, STYLE

Point = dict[str, Any]


def truncation_curve(
    network: FeatureNetwork,
    draw: Callable[[float], GeneratedImages],
    truncations: Sequence[float],
    reference: FeatureStatistics,
    kind: TruncationKind,
    console: Console,
) -> list[Point]:
    """FID and IS at each truncation, in every process.

    Args:
      network: looks at the samples.
      draw: gives the samples at a truncation.
      truncations: of the samples' latents.
      reference: the real images' statistics.
      kind: how truncations are meant.
      console: shows progress.
    """
    points = []
    for truncation in truncations:
        samples = draw(truncation)
        fid, score = fid_and_is(network, samples, reference, describe(kind, truncation), console)
        point = {
            "truncation": truncation,
            "truncation_kind": kind,
            "num_samples": samples.count,
            f"fid@{network.name}": as_score(fid),
        }
        if score:
            point[f"is@{network.name}"] = {"value": score.mean, "std": score.std, "splits": score.splits}
        points.append(point)
    return points


def label(point: Point) -> str:
    """A point's truncation, `none` where it has none."""
    truncation = point["truncation"]
    return "none" if truncation == untruncated(point["truncation_kind"]) else f"{truncation:g}"


def plot(points: Sequence[Point], network: str) -> bytes:
    """The curve as PNG."""
    buffer = io.BytesIO()
    figure = draw(points, network)
    FigureCanvasAgg(figure)
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def draw(points: Sequence[Point], network: str) -> Figure:
    """FID against IS, each point with its truncation; FID alone where there is no IS. Save it in STYLE."""
    names = [label(point) for point in points]
    fid = np.array([point[f"fid@{network}"]["value"] for point in points])
    with rc_context(STYLE):
        figure = Figure(figsize=(6.0, 4.2), layout="constrained")
        axes = figure.subplots()
        if f"is@{network}" in points[0]:
            score = np.array([point[f"is@{network}"]["value"] for point in points])
            std = np.array([point[f"is@{network}"]["std"] for point in points])
            axes.errorbar(score, fid, xerr=std, color=BLUE, ecolor=GREY, elinewidth=0.6, marker="o", ms=4)
            for x, y, name in zip(score, fid, names, strict=True):
                axes.annotate(name, (x, y), (4, 4), textcoords="offset points", color=ORANGE)
            axes.set_xlabel(f"IS@{network} (more is better)")
        else:
            axes.plot(names, fid, color=BLUE, marker="o", ms=4)
            axes.set_xlabel("truncation")
        axes.set_ylabel(f"FID@{network} (less is better)")
        axes.set_title(f"{points[0]['num_samples']:,} samples at each truncation")
    return figure
