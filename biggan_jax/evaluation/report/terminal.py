"""What a person sees of an evaluation on the terminal: scores, the five sections, a table of classes.

The rows of the tables are those of `html_report` too.
"""

from collections.abc import Callable, Iterator
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from biggan_jax.evaluation.report import truncation_curve
from biggan_jax.sampling.truncation import describe

ROWS_SHOWN = 20  # of the table of classes; with more classes, the least recognised or least varied ones
SHARES = ("precision", "recall", "coverage", "recognised", "cas")  # in per cent


def render_report(report: dict[str, Any]) -> Group:
    """All of it."""
    parts: list[RenderableType] = [scores(report)]
    parts += [Text(f"! {note}", "yellow") for note in report["notes"]]
    parts.append(sections(report))
    if report["classes"]:
        parts.append(classes(report))
    if report["truncations"]:
        parts.append(truncations(report))
    return Group(*parts, provenance(report))


def scores(report: dict[str, Any]) -> Table:
    """The scores of the samples, and of real images that were held out, in their place."""
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left")
    if any(score.get("held_out") for score in report["scores"].values()):
        table.caption = "  held out: real images unknown to the generator, in the samples' place"
    table.add_column("score", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("held out", justify="right", no_wrap=True)
    table.add_column("")
    for row in score_rows(report):
        table.add_row(*row)
    return table


def score_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Of each score its name, what samples and what held-out images get, and a remark."""
    for name, score in report["scores"].items():
        kind = name.split("@")[0]
        held_out = score.get("held_out")
        yield (
            name,
            _number(kind, score["value"]) + _deviation(kind, score),
            _number(kind, held_out["value"]) if held_out else "–",
            ", ".join(_remarks(kind, score)),
        )


def _number(kind: str, value: float | None) -> str:
    if kind in SHARES:
        return percent(value)
    return f"{value:.5f}" if kind == "kid" and value is not None else ratio(value)


def _deviation(kind: str, score: dict[str, Any]) -> str:
    if kind == "is":
        return f" ± {score['std']:.2f}"
    return f" ± {score['standard_error']:.5f}" if kind == "kid" else ""


def _remarks(kind: str, score: dict[str, Any]) -> Iterator[str]:
    if kind == "is":
        if "meaningful" not in score:
            return
        share = percent(score["share_of_real"], 0)
        yield f"{share} of as many real images'" if score["meaningful"] else "not meaningful here: see 2"
    elif kind == "fid" and score["expected_bias"] is not None:
        yield f"about {ratio(score['expected_bias'])} of it is bias"
        if score.get("extrapolated") is not None:
            yield f"FID∞ {ratio(score['extrapolated'])}"
    elif kind == "kid":
        yield "± standard error"
    elif kind == "density":
        yield "perfect: 1"
    elif kind == "diversity":
        yield "real images: 1"
    elif kind == "recognised":
        yield "as the class asked for"
    elif kind == "cas":
        yield "of real images, having learnt from samples"


def sections(report: dict[str, Any]) -> Group:
    """The five sections, a paragraph each."""
    parts: list[RenderableType] = [Text("Beyond the Inception Score", "bold")]
    for section in report["beyond_is"]:
        title = Text(f"{section['blind_spot']}. {section['title']}")
        if section["measured"]:
            title.append(*((": look here", "bold red") if section["flagged"] else (": fine", "green")))
        parts += [title, Padding(Text(section["sentence"]), (0, 0, 0, 3))]
    return Group(*parts)


def classes(report: dict[str, Any]) -> Table:
    """The scores by class and over all classes."""
    rows, columns = report["classes"], class_columns(report)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("class", "all classes")
    for key, (title, form) in columns.items():
        table.add_column(title, form(_over_all(report, key)), justify="right")
    if len(rows) > ROWS_SHOWN:
        by = next(iter(columns))
        known = [row for row in rows if row[by] is not None]
        rows = sorted(known, key=lambda row: row[by], reverse=by.startswith("fid"))[:ROWS_SHOWN]
        worst = {"recognised": "least recognised", "diversity": "least varied"}.get(by.split("@")[0], "worst")
        table.title = f"the {ROWS_SHOWN} {worst} of {len(report['classes'])} classes"
    for row in rows:
        table.add_row(row["name"], *(form(row[key]) for key, (_, form) in columns.items()))
    return table


def class_columns(report: dict[str, Any]) -> dict[str, tuple[str, Callable[[float | None], str]]]:
    """Title and form of the numbers that a row of a class has, by their key in it."""
    name = report["network"]["network"]
    columns = {
        f"recognised@{name}": ("recognised", percent),
        "test_accuracy": ("real images recognised", percent),
        f"diversity@{name}": ("diversity (real = 1)", ratio),
        f"fid@{name}": ("FID of the class", ratio),
    }
    return {key: column for key, column in columns.items() if key in report["classes"][0]}


def _over_all(report: dict[str, Any], key: str) -> float | None:
    if key == "test_accuracy":
        return report["classifier"]["test_accuracy"]
    # FID over all classes is no mean of theirs, and would mislead beneath them.
    return None if key.startswith("fid") else report["scores"].get(key, {}).get("value")


def truncations(report: dict[str, Any]) -> Table:
    """FID and IS at each truncation."""
    table = Table(box=box.SIMPLE_HEAD)
    header, *rows = truncation_rows(report)
    for title in header:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def truncation_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The header, then a row for each truncation."""
    names = [f"{kind}@{report['network']['network']}" for kind in ("fid", "is")]
    yield "truncation", *names
    for point in report["truncations"]:
        found = (point.get(name) for name in names)
        yield truncation_curve.label(point), *(ratio(score and score["value"]) for score in found)


def provenance(report: dict[str, Any]) -> str:
    """Where the numbers come from: samples, data and network, a line each."""
    reference, network = report["reference"], report["network"]
    if "step" in report:
        statistics = report["statistics"]
        truncation = describe("threshold", report["truncation"])
        samples = (
            f"of step {report['step']:,}, {report['resolution']} px, {truncation}; {report['weights']} "
            f"weights; {statistics['mode']} statistics ({statistics['passes']} × {statistics['batch_size']})"
        )
    elif "weights" in report:
        truncation = describe(report["truncation_kind"], report["truncation"])
        samples = f"of the export {report['file']}, {report['resolution']} px, {truncation}"
    else:
        samples = f"in {report['file']}, {report['resolution']} px"
    lines = [f"{report['num_samples']:,} samples {samples}"]
    if "training" in reference:
        lines.append(f"against {reference['images']:,} images: {reference['training']}")
        if reference["held_out"]:
            lines.append(f"held out {reference['held_out_images']:,}: {reference['held_out']}")
    else:
        count = "an unknown number of" if reference["images"] is None else f"{reference['images']:,}"
        lines.append(f"against statistics of {count} images in {reference['source']}")
    size = f"{network['input_size']} px, " if network["input_size"] else ""
    lines.append(f"network {network['network']} {network['weights_hash'][:12]}: {size}{network['resize']}")
    if "classifier" in report:
        found = report["classifier"]
        lines[-1] += (
            f"; recognises {percent(found['test_accuracy'])} of {found['test_images']:,} real test images"
        )
    return "\n".join(lines)


def percent(share: float | None, digits: int = 1) -> str:
    """`97.3 %`, or a dash where there is no number."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def ratio(value: float | None) -> str:
    """`12.87`, `0.0012`, or a dash where there is no number."""
    return "–" if value is None else f"{value:.{2 if abs(value) >= 0.1 else 4}f}"
