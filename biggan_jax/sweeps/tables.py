"""The results of a sweep as a table: on the terminal, as CSV and as Markdown."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from biggan_jax.cli import field_names
from biggan_jax.evaluation.report import SHARES, percent, ratio
from biggan_jax.sweeps.naming import describe, short_field, spelled
from biggan_jax.sweeps.results import Notes, Result, better, kind

SHOWN = ("fid", "is", "recognised", "diversity")  # on the terminal; the files have all scores


class Cell(NamedTuple):
    """A text, and whether it is the best of its column."""

    text: str
    best: bool = False


def header(results: Sequence[Result]) -> list[str]:
    """The columns of `rows`."""
    return [
        "run",
        *_fields(results),
        "reached",
        *_scores(results),
        *(f"best {score} while training" for score in _best_scores(results)),
    ]


def rows(results: Sequence[Result]) -> Iterator[list[Cell]]:
    """A row for each run, in the columns of `header`."""
    for result in results:
        yield [
            Cell(result.run.name),
            *(Cell(_value(value)) for value in result.differences.values()),
            Cell(result.status),
            *(_judged(score, result, results) for score in _scores(results)),
            *(_best(score, result, results) for score in _best_scores(results)),
        ]


def as_csv(results: Sequence[Result]) -> str:
    """One line a run, numbers as they are; fields by their whole names."""
    scores, best = _scores(results), _best_scores(results)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    columns = [f"best {score} while training" for score in best]
    at = [f"{column}, step" for column in columns]
    writer.writerow(["run", *results[0].differences, "status", "error", "step", *scores, *columns, *at])
    for result in results:
        writer.writerow(
            [
                result.run.name,
                *map(spelled, result.differences.values()),
                result.status,
                result.error,
                result.step,
                *(result.judged.get(score) for score in scores),
                *(result.best.get(score, (None, None))[0] for score in best),
                *(result.best.get(score, (None, None))[1] for score in best),
            ]
        )
    return buffer.getvalue()


def as_markdown(results: Sequence[Result], notes: Notes) -> str:
    """The table, the best of each column in bold, and under what the scores were taken."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    columns = header(results)
    body = [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in rows(results)]
    table = [line(columns), line(["---"] + ["--:"] * (len(columns) - 1)), *map(line, body)]
    return "\n".join([*table, *(f"\n{note}." for note in (*notes.sentences, *notes.warnings))]) + "\n"


def on_terminal(results: Sequence[Result]) -> Iterator[Table]:
    """How the runs differ, where their names don't tell, and the main scores."""
    known = field_names(results[0].run.config)
    if any(describe(result.differences, known) != result.run.name for result in results):
        table = _table(_fields(results))
        for result in results:
            table.add_row(result.run.name, *map(_value, result.differences.values()))
        yield table
    scores = [score for score in _scores(results) if kind(score) in SHOWN]
    best = [score for score in _best_scores(results) if kind(score) == "fid"]
    titles = [*scores, *(f"best {score} (step)" for score in best)]
    networks = {score.partition("@")[2] for score in [*scores, *best]}
    if len(networks) == 1:  # which is said once, then
        titles = [title.replace(f"@{next(iter(networks))}", "") for title in titles]
    table = _table(["reached", *titles])
    table.caption = f"  scores by the network {', '.join(sorted(networks))}" if networks else None
    for result in results:
        cells = [
            *(_judged(score, result, results) for score in scores),
            *(_best(score, result, results) for score in best),
        ]
        shown = (Text(cell.text, "bold" if cell.best else "") for cell in cells)
        table.add_row(result.run.name, Text(result.status), *shown)
    yield table


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left")
    table.add_column("run", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def form(score: str, value: float) -> str:
    """A score as reports have it: `fid@classifier` → 12.87, `recognised@classifier` → 86.9 %."""
    if kind(score) in SHARES:
        return percent(value)
    return f"{value:.5f}" if kind(score) == "kid" else ratio(value)


def _fields(results: Sequence[Result]) -> list[str]:
    """The fields in which the runs differ, in words that a line can be broken between."""
    known = field_names(results[0].run.config)
    return [short_field(field, known).replace("_", " ") for field in results[0].differences]


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
