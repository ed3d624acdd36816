"""The results of a sweep as a table: on the terminal, as CSV and as Markdown."""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from biggan_jax.evaluation.report.terminal import SHARES, percent, ratio
from biggan_jax.runtime.cli import field_names
from biggan_jax.sweeps.naming import describe, short_field, spelled
from biggan_jax.sweeps.results import Notes, Result, better, kind

SHOWN = ("fid", "is", "recognised", "diversity")  # of many scores, those that are looked at first
LONGEST = 40  # letters of a run's name that are kept on one line of the terminal


class Cell(NamedTuple):
    """A text, and whether it is the best of its column."""

    text: str
    best: bool = False


class Column(NamedTuple):
    """A title, and a cell for each run."""

    title: str
    cells: list[Cell]


def run_names(results: Sequence[Result]) -> Column:
    """The names of the runs."""
    return Column("run", [Cell(result.run.name) for result in results])


def reached(results: Sequence[Result]) -> Column:
    """How far each run is."""
    return Column("reached", [Cell(result.status) for result in results])


def fields(results: Sequence[Result]) -> list[Column]:
    """The fields in which the runs differ, in words that a line can be broken between."""
    known = field_names(results[0].run.config)
    return [
        Column(
            short_field(field, known).replace("_", " "),
            [Cell(_value(result.differences[field])) for result in results],
        )
        for field in results[0].differences
    ]


def scores(results: Sequence[Result], kinds: Collection[str] | None = None) -> list[Column]:
    """The scores of the last step, in the order in which reports have them; of `kinds` alone if given."""
    return [
        Column(score, [_judged(score, result, results) for result in results])
        for score in _scores(results)
        if kinds is None or kind(score) in kinds
    ]


def best_scores(results: Sequence[Result], kinds: Collection[str] | None = None) -> list[Column]:
    """The best of each score while the run trained, and its step; of `kinds` alone if given."""
    return [
        Column(f"best {score} (step)", [_best(score, result, results) for result in results])
        for score in _best_scores(results)
        if kinds is None or kind(score) in kinds
    ]


def as_csv(results: Sequence[Result]) -> str:
    """One line a run with all scores, numbers as they are; fields by their whole names."""
    judged, best = _scores(results), _best_scores(results)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    columns = [f"best {score} while training" for score in best]
    at = [f"{column}, step" for column in columns]
    writer.writerow(["run", *results[0].differences, "status", "error", "step", *judged, *columns, *at])
    for result in results:
        writer.writerow(
            [
                result.run.name,
                *map(spelled, result.differences.values()),
                result.status,
                result.error,
                result.step,
                *(result.judged.get(score) for score in judged),
                *(result.best.get(score, (None, None))[0] for score in best),
                *(result.best.get(score, (None, None))[1] for score in best),
            ]
        )
    return buffer.getvalue()


def as_markdown(results: Sequence[Result], notes: Notes) -> str:
    """What differs and the main scores, the best of each in bold, and under what the scores were taken."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    columns = [
        run_names(results),
        *fields(results),
        reached(results),
        *scores(results, SHOWN),
        *best_scores(results, ["fid"]),
    ]
    body = zip(*(column.cells for column in columns), strict=True)
    lines = [line([column.title for column in columns]), line(["---"] + ["--:"] * (len(columns) - 1))]
    lines += [line([f"**{cell.text}**" if cell.best else cell.text for cell in row]) for row in body]
    return "\n".join([*lines, *(f"\n{note}." for note in (*notes.sentences, *notes.warnings))]) + "\n"


def on_terminal(results: Sequence[Result]) -> Iterator[Table]:
    """How the runs differ, where their names don't tell, and the main scores."""
    known, names = field_names(results[0].run.config), run_names(results)
    if any(describe(result.differences, known) != result.run.name for result in results):
        yield _table([names, *fields(results)])
    shown = [*scores(results, SHOWN), *best_scores(results, ["fid"])]
    networks = {column.title.partition("@")[2].partition(" ")[0] for column in shown}
    if len(networks) == 1:  # which is said once, then
        (network,) = networks
        shown = [Column(column.title.replace(f"@{network}", ""), column.cells) for column in shown]
    table = _table([names, reached(results), *shown])
    table.caption = f"scores by the network {', '.join(sorted(networks))}" if networks else None
    yield table


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left", pad_edge=False, collapse_padding=True)
    names, *others = columns
    longest = max(len(cell.text) for cell in names.cells)
    table.add_column(names.title, overflow="fold", width=min(longest, LONGEST))
    for column in others:
        table.add_column(column.title, justify="right", overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell.text, "bold" if cell.best else "") for cell in row))
    return table


def form(score: str, value: float) -> str:
    """A score as reports have it: `fid@classifier` → 12.87, `recognised@classifier` → 86.9 %."""
    if kind(score) in SHARES:
        return percent(value)
    return f"{value:.5f}" if kind(score) == "kid" else ratio(value)


def _scores(results: Sequence[Result]) -> list[str]:
    """The names of all scores of the last step, in the order in which reports have them."""
    return list(dict.fromkeys(score for result in results for score in result.judged))


def _best_scores(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(score for result in results for score in result.best))


def _judged(score: str, result: Result, results: Sequence[Result]) -> Cell:
    if score not in result.judged:
        return Cell("–")
    value = result.judged[score]
    values = [other.judged[score] for other in results if score in other.judged]
    return Cell(form(score, value), value == better(score, values))


def _best(score: str, result: Result, results: Sequence[Result]) -> Cell:
    if score not in result.best:
        return Cell("–")
    value, step = result.best[score]
    values = [other.best[score][0] for other in results if score in other.best]
    return Cell(f"{form(score, value)} ({step:,})", value == better(score, values))


def _value(value: Any) -> str:
    """A field's value; ✓ and – are what the paper's table has."""
    return {"true": "✓", "false": "–"}.get(spelled(value), spelled(value))
