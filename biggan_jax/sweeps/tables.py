"""Tables of a sweep's results: for the terminal, as CSV and as Markdown."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from biggan_jax.evaluation.scores.registry import metric_of
from biggan_jax.runtime.config_file import field_names
from biggan_jax.sweeps.naming import describe, format_value, short_field
from biggan_jax.sweeps.results import Notes, Result

MAIN_METRICS = ("fid", "is", "recognised", "diversity")  # the other scores are shown on request
MAX_NAME_WIDTH = 32  # characters of a run's name on one line of the terminal


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
      text: Text of the cell.
      best: Whether it holds the best value of its column.
    """

    text: str
    best: bool = False


class Column(NamedTuple):
    """One column of a table.

    Attributes:
      title: Title of the column.
      cells: One cell for each run.
    """

    title: str
    cells: list[Cell]


def run_names(results: Sequence[Result]) -> Column:
    """Returns the column of the runs' names."""
    return Column("run", [Cell(result.run.name) for result in results])


def states(results: Sequence[Result]) -> Column:
    """Returns the column of the runs' states: finished, or the steps done so far."""
    return Column("reached", [Cell(result.status) for result in results])


def fields(results: Sequence[Result]) -> list[Column]:
    """Returns one column for each field in which the runs differ; its title can be wrapped between words."""
    known = field_names(results[0].run.config)
    return [
        Column(
            short_field(field, known).replace("_", " "),
            [Cell(_value(result.differences[field])) for result in results],
        )
        for field in results[0].differences
    ]


def scores(results: Sequence[Result], metrics: Collection[str] | None = None) -> list[Column]:
    """Returns one column for each score of the last step.

    Args:
      results: Results of the runs.
      metrics: Metrics to show, such as `fid`; None shows all.

    Returns:
      Columns in the order in which the reports list the scores.
    """
    return [
        Column(score, [_final(score, result, results) for result in results])
        for score in _scores(results)
        if metrics is None or metric_of(score).name in metrics
    ]


def best_scores(results: Sequence[Result], metrics: Collection[str] | None = None) -> list[Column]:
    """Returns one column for the best value of each score during training, and its step.

    Args:
      results: Results of the runs.
      metrics: Metrics to show, such as `fid`; None shows all.

    Returns:
      Columns in the order in which the runs measured the scores.
    """
    return [
        Column(f"best {score} (step)", [_best(score, result, results) for result in results])
        for score in _best_scores(results)
        if metrics is None or metric_of(score).name in metrics
    ]


def _inert(cell: Any) -> Any:
    """Returns a cell that no spreadsheet takes for a formula: a text like one gets an apostrophe in front."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    return cell if _is_number(cell) else f"'{cell}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_csv(results: Sequence[Result]) -> str:
    """Returns the results as CSV: one line for each run, unrounded scores and the full names of fields."""
    final, best = _scores(results), _best_scores(results)
    buffer = io.StringIO()
    writer = csv.writer(buffer)

    def write(cells: Iterable[Any]) -> None:
        writer.writerow([_inert(cell) for cell in cells])

    columns = [f"best {score} while training" for score in best]
    at = [f"{column}, step" for column in columns]
    write(["run", *results[0].differences, "status", "error", "step", *final, *columns, *at])
    for result in results:
        write(
            [
                result.run.name,
                *map(format_value, result.differences.values()),
                result.status,
                result.error,
                result.step,
                *(result.final.get(score) for score in final),
                *(result.best.get(score, (None, None))[0] for score in best),
                *(result.best.get(score, (None, None))[1] for score in best),
            ]
        )
    return buffer.getvalue()


def as_markdown(results: Sequence[Result], notes: Notes) -> str:
    """Returns a Markdown table of the differing fields and the main scores, and the notes below it."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    columns = [
        run_names(results),
        *fields(results),
        states(results),
        *scores(results, MAIN_METRICS),
        *best_scores(results, ["fid"]),
    ]
    body = zip(*(column.cells for column in columns), strict=True)
    lines = [line([column.title for column in columns]), line(["---"] + ["--:"] * (len(columns) - 1))]
    lines += [line([f"**{cell.text}**" if cell.best else cell.text for cell in row]) for row in body]
    return "\n".join([*lines, *(f"\n{note}." for note in (*notes.sentences, *notes.warnings))]) + "\n"


def on_terminal(results: Sequence[Result]) -> Iterator[Table]:
    """Yields a table of the differing fields, unless the names hold them all, and one of the main scores."""
    known, names = field_names(results[0].run.config), run_names(results)
    if any(describe(result.differences, known) != result.run.name for result in results):
        yield _table([names, *fields(results)])
    shown = [*scores(results, MAIN_METRICS), *best_scores(results, ["fid"])]
    networks = {column.title.partition("@")[2].partition(" ")[0] for column in shown}
    if len(networks) == 1:  # the caption names it
        (network,) = networks
        shown = [Column(column.title.replace(f"@{network}", ""), column.cells) for column in shown]
    table = _table([names, states(results), *shown])
    table.caption = f"feature network: {', '.join(sorted(networks))}" if networks else None
    yield table


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left", pad_edge=False, collapse_padding=True)
    names, *others = columns
    table.add_column(names.title, overflow="fold")
    for column in others:
        words = " ".join([column.title, *(cell.text for cell in column.cells)]).split()
        table.add_column(column.title, justify="right", min_width=max(map(len, words)))
    for row in zip(*(column.cells for column in columns), strict=True):
        name, *cells = (Text(cell.text, "bold" if cell.best else "") for cell in row)
        table.add_row(Text(_wrapped(name.plain)), *cells)
    return table


def _wrapped(name: str) -> str:
    """Breaks a run's name into lines, only behind commas."""
    lines = [""]
    for part in re.findall("[^,]+,?|,", name):
        if lines[-1] and len(lines[-1]) + len(part) > MAX_NAME_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def format_score(score: str, value: float) -> str:
    """Formats a score as reports do: `fid@classifier` → 12.87, `recognised@classifier` → 86.9 %."""
    return metric_of(score).format(value)


def _scores(results: Sequence[Result]) -> list[str]:
    """Returns the names of all scores of the last step, in the order in which reports list them."""
    return list(dict.fromkeys(score for result in results for score in result.final))


def _best_scores(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(score for result in results for score in result.best))


def _final(score: str, result: Result, results: Sequence[Result]) -> Cell:
    if score not in result.final:
        return Cell("–")
    value = result.final[score]
    values = [other.final[score] for other in results if score in other.final]
    return Cell(format_score(score, value), value == metric_of(score).best(values))


def _best(score: str, result: Result, results: Sequence[Result]) -> Cell:
    if score not in result.best:
        return Cell("–")
    value, step = result.best[score]
    values = [other.best[score][0] for other in results if score in other.best]
    return Cell(f"{format_score(score, value)} ({step:,})", value == metric_of(score).best(values))


def _value(value: Any) -> str:
    """Formats a field's value, with the ✓ and – of the paper's table 1."""
    return {"true": "✓", "false": "–"}.get(format_value(value), format_value(value))
