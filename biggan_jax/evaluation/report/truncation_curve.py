"""FID and IS over truncations: the trade of variety for fidelity (Brock et al. 2019, section 3.1, figure 17).

Each truncation has its own standing statistics and equally many samples.
"""

import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from biggan_jax.evaluation.image_sets import GeneratedImages
from biggan_jax.evaluation.networks.extraction import fid_and_is
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.report.schema import TruncationPoint
from biggan_jax.evaluation.scores.inputs import Score
from biggan_jax.evaluation.scores.moments import FeatureStatistics
from biggan_jax.evaluation.scores.registry import METRICS, Metric
from biggan_jax.sampling.truncation import TruncationKind, describe, untruncated
from biggan_jax.training.monitoring.curves import BLUE, DPI, GREY, ORANGE, STYLE

FID, IS = METRICS["fid"], METRICS["is"]


def truncation_curve(
    network: FeatureNetwork,
    at_truncation: Callable[[float], GeneratedImages],
    truncations: Sequence[float],
    reference: FeatureStatistics,
    kind: TruncationKind,
    console: Console,
) -> list[TruncationPoint]:
    """Computes FID and IS at each truncation, in every process.

    Args:
      network: Feature network.
      at_truncation: Function that returns the samples at a truncation.
      truncations: Truncations of the latents.
      reference: Statistics of the real images.
      kind: Meaning of the truncations.
      console: Console for the progress bars.
    """
    points = []
    for truncation in truncations:
        samples = at_truncation(truncation)
        fid, inception = fid_and_is(network, samples, reference, describe(kind, truncation), console)
        scores = {FID.full_name(network.name): Score.make(**dataclasses.asdict(fid))}
        if inception:
            scores[IS.full_name(network.name)] = Score.make(
                inception.mean, std=inception.std, splits=inception.splits
            )
        points.append(TruncationPoint(truncation, kind, samples.count, scores))
    return points


def label(point: TruncationPoint) -> str:
    """Returns the truncation of a point in words, `none` for untruncated latents."""
    if point.truncation == untruncated(point.truncation_kind):
        return "none"
    return f"{point.truncation:g}"


def plot(points: Sequence[TruncationPoint], network: str) -> bytes:
    """Returns the curve as a PNG file.

    Args:
      points: Scores at each truncation.
      network: Name of the feature network.
    """
    buffer = io.BytesIO()
    figure = draw(points, network)
    FigureCanvasAgg(figure)
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def draw(points: Sequence[TruncationPoint], network: str) -> Figure:
    """Draws FID against IS with the truncation at each point, or FID alone where IS is missing.

    Save the figure in STYLE.

    Args:
      points: Scores at each truncation.
      network: Name of the feature network.
    """
    labels = [label(point) for point in points]
    fid = _values(points, FID.full_name(network))
    with rc_context(STYLE):
        figure = Figure(figsize=(6.0, 4.2), layout="constrained")
        axes = figure.subplots()
        inception = IS.full_name(network)
        if inception in points[0].scores:
            score = _values(points, inception)
            std = np.array([point.scores[inception].details.get("std", 0.0) for point in points])
            axes.errorbar(score, fid, xerr=std, color=BLUE, ecolor=GREY, elinewidth=0.6, marker="o", ms=4)
            for x, y, text in zip(score, fid, labels, strict=True):
                axes.annotate(text, (x, y), (4, 4), textcoords="offset points", color=ORANGE)
            axes.set_xlabel(_axis(IS, network))
        else:
            axes.plot(labels, fid, color=BLUE, marker="o", ms=4)
            axes.set_xlabel("truncation")
        axes.set_ylabel(_axis(FID, network))
        axes.set_title(f"{points[0].num_samples:,} samples at each truncation")
    return figure


def _values(points: Sequence[TruncationPoint], score: str) -> np.ndarray:
    return np.array([point.scores[score].value for point in points], np.float64)


def _axis(metric: Metric, network: str) -> str:
    return f"{metric.title}@{network} ({metric.direction})"
