"""The report on the terminal: scores, five sections, a table of classes, a table of truncations.

The HTML report has the rows of these tables too.
"""

from collections.abc import Iterator
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from biggan_jax.evaluation.networks.feature_network import NO_RESIZE
from biggan_jax.evaluation.report import truncation_curve
from biggan_jax.evaluation.report.schema import Report
from biggan_jax.evaluation.scores.formats import MISSING, Format, percent
from biggan_jax.evaluation.scores.registry import METRICS, metric_of
from biggan_jax.evaluation.scoring import TEST_ACCURACY
from biggan_jax.sampling.truncation import describe

ROWS_SHOWN = 20  # of the table of classes; with more classes, those with the worst value in the first column
CLASS_COLUMNS = ("recognised", TEST_ACCURACY, "diversity", "fid")  # the first ones sort the table


class ScoreRow(NamedTuple):
    """A row of the table of scores.

    Attributes:
      name: Full name of the score.
      samples: Value for the samples.
      held_out: Value for held-out images.
      remark: Remark on the value.
    """

    name: str
    samples: str
    held_out: str
    remark: str


class ClassColumn(NamedTuple):
    """A column of the table of classes.

    Attributes:
      title: Title.
      format: Format of its numbers.
    """

    title: str
    format: Format


def render_report(report: Report) -> Group:
    """Returns the whole report for the console."""
    parts: list[RenderableType] = [scores(report)]
    parts += [Text(f"! {note}", "yellow") for note in report.notes]
    parts.append(sections(report))
    if class_columns(report):
        parts.append(classes(report))
    if report.truncations:
        parts.append(truncations(report))
    return Group(*parts, provenance(report))


def scores(report: Report) -> Table:
    """Returns the table of scores, for the samples and for held-out images in their place."""
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left")
    if any(score.held_out for score in report.scores.values()):
        table.caption = "  held out: real images that the generator has not learnt from, scored like samples"
    table.add_column("score", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("held out", justify="right", no_wrap=True)
    table.add_column("")
    for row in score_rows(report):
        table.add_row(*row)
    return table


def score_rows(report: Report) -> Iterator[ScoreRow]:
    """Yields a row for each score."""
    for name, score in report.scores.items():
        metric = metric_of(name)
        held_out = metric.format(score.held_out.value) if score.held_out else MISSING
        yield ScoreRow(name, metric.shown(score), held_out, metric.remark_on(score))


def sections(report: Report) -> Group:
    """Returns the five sections, a paragraph each."""
    parts: list[RenderableType] = [Text("Blind spots of the Inception Score", "bold")]
    for section in report.blind_spots:
        title = Text(f"{section.number}. {section.title}")
        if section.measured:
            title.append(*((": look here", "bold red") if section.flagged else (": fine", "green")))
        parts += [title, Padding(Text(section.sentence), (0, 0, 0, 3))]
    return Group(*parts)


def classes(report: Report) -> Table:
    """Returns the table of the scores by class and over all classes."""
    rows, columns = report.classes, class_columns(report)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("class", "all classes")
    for key, column in columns.items():
        table.add_column(column.title, column.format(_over_all(report, key)), justify="right")
    if len(rows) > ROWS_SHOWN:
        by = next(iter(columns))
        known = [row for row in rows if row.values[by] is not None]
        worst_is_highest = metric_of(by).higher_is_better is False
        rows = sorted(known, key=lambda row: row.values[by] or 0.0, reverse=worst_is_highest)[:ROWS_SHOWN]
        worst = {"recognised": "least recognised", "diversity": "least diverse"}
        word = worst.get(metric_of(by).name, "worst")
        table.title = f"the {ROWS_SHOWN} {word} of {len(report.classes)} classes"
    for row in rows:
        table.add_row(row.name, *(column.format(row.values[key]) for key, column in columns.items()))
    return table


def class_columns(report: Report) -> dict[str, ClassColumn]:
    """Returns the columns of the table of classes, by the keys of `ClassRow.values`; none without values."""
    if not report.classes:
        return {}
    network = report.network.network
    names = [*CLASS_COLUMNS, *(name for name in METRICS if name not in CLASS_COLUMNS)]
    columns = {}
    for name in names:
        if name == TEST_ACCURACY:
            columns[TEST_ACCURACY] = ClassColumn("real images recognised", percent)
        elif METRICS[name].by_class:
            metric = METRICS[name]
            columns[metric.full_name(network)] = ClassColumn(metric.class_title or name, metric.format)
    return {key: column for key, column in columns.items() if key in report.classes[0].values}


def _over_all(report: Report, key: str) -> float | None:
    if key == TEST_ACCURACY:
        return report.classifier.test_accuracy if report.classifier else None
    # FID over all classes is not the mean of the FIDs above it, and would mislead there.
    if metric_of(key).name == "fid" or key not in report.scores:
        return None
    return report.scores[key].value


def truncations(report: Report) -> Table:
    """Returns the table of FID and IS at each truncation."""
    table = Table(box=box.SIMPLE_HEAD)
    header, *rows = truncation_rows(report)
    for title in header:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def truncation_rows(report: Report) -> Iterator[tuple[str, str, str]]:
    """Yields the header, and a row for each truncation."""
    fid, inception = (METRICS[name] for name in ("fid", "is"))
    names = [metric.full_name(report.network.network) for metric in (fid, inception)]
    yield "truncation", names[0], names[1]
    for point in report.truncations:
        values = [point.scores[name].value if name in point.scores else None for name in names]
        yield truncation_curve.label(point), fid.format(values[0]), inception.format(values[1])


def provenance(report: Report) -> str:
    """Returns the origin of the numbers: samples, data and feature network, a line each."""
    reference = report.reference
    lines = [f"{report.samples.num_samples:,} samples {_origin(report)}"]
    if reference.training is not None:
        lines.append(f"compared with {reference.images or 0:,} training images: {reference.training}")
        if reference.held_out:
            lines.append(f"held out: {reference.held_out_images:,} images: {reference.held_out}")
    else:
        count = "an unknown number of" if reference.images is None else f"{reference.images:,}"
        lines.append(f"compared with the statistics of {count} images in {reference.source}")
    return "\n".join([*lines, _network(report)])


def _origin(report: Report) -> str:
    samples = report.samples
    if samples.step is not None:
        statistics, truncation = samples.statistics or {}, describe("threshold", samples.truncation or 0.0)
        batches = f"{statistics.get('passes')} passes of {statistics.get('batch_size')}"
        return (
            f"of step {samples.step:,}, {samples.resolution} px, {truncation}; {samples.weights} weights; "
            f"{statistics.get('mode')} statistics ({batches})"
        )
    if samples.truncation_kind is not None and samples.truncation is not None:
        truncation = describe(samples.truncation_kind, samples.truncation)
        return f"of the export {samples.file}, {samples.resolution} px, {truncation}"
    return f"in {samples.file}, {samples.resolution} px"


def _network(report: Report) -> str:
    network = report.network
    size = f"at {network.input_size} px, " if network.input_size else ""
    resize = "without resizing" if network.resize == NO_RESIZE else f"resized: {network.resize}"
    line = f"feature network {network.network} {network.weights_hash[:12]}: {size}{resize}"
    if report.classifier:
        accuracy, count = report.classifier.test_accuracy, report.classifier.test_images
        line += f"; it recognises {percent(accuracy)} of {count:,} held-out images"
        if any(score.is_refused for score in report.scores.values()):
            line += ", which is not meaningful"
    return line
