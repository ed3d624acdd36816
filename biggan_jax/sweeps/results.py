"""Results of a sweep's runs: how their configs differ, their scores, and whether these compare."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from biggan_jax.evaluation.scores.registry import metric_of
from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.naming import differing_fields
from biggan_jax.sweeps.sweep_file import Run
from biggan_jax.sweeps.workdirs import (
    evaluation,
    find_directories,
    is_finished,
    last_message,
    last_step,
    read_json,
)
from biggan_jax.training.monitoring.metrics import FILE_NAME
from biggan_jax.training.monitoring.rows import Row, read_rows

FINISHED, NOT_STARTED = "finished", "not begun"


class Result(NamedTuple):
    """State and scores of one run.

    Attributes:
      run: Run of the sweep file.
      directory: Directory of the run.
      status: FINISHED, NOT_STARTED, or the steps done so far.
      error: Error that the last command of an unfinished run ended with; empty without one.
      step: Last step that the run has reached.
      differences: Values of the fields in which the runs differ.
      final: Scores of the newest checkpoint, from biggan_jax.evaluate.
      best: Best value of each score during training, and its step.
      rows: Rows of metrics.
    """

    run: Run
    directory: epath.Path
    status: str
    error: str
    step: int
    differences: dict[str, Any]
    final: dict[str, float]
    best: dict[str, tuple[float, int]]
    rows: Sequence[Row]


class Notes(NamedTuple):
    """Remarks on the results of a sweep.

    Attributes:
      sentences: Conditions under which the scores were measured.
      warnings: Conditions in which the scores differ, and runs that failed.
    """

    sentences: list[str]
    warnings: list[str]


def collect(runs: Sequence[Run], workdir: epath.Path) -> tuple[list[Result], Notes]:
    """Reads the results of all runs, including those that have not started.

    Args:
      runs: Runs of the sweep.
      workdir: Directory of the sweep.

    Returns:
      One result for each run, in order, and notes on all of them.

    Raises:
      UserError: No run has started.
    """
    directories = find_directories(runs, workdir)
    if not any(directory.exists() for directory in directories):
        raise UserError(
            f"--workdir={workdir}: no run of this sweep has begun there; start it without --summary"
        )
    fields = differing_fields([run.config for run in runs])
    damaged: list[str] = []
    reports = [
        _known(evaluation(directory), directory / "evaluation.json", damaged) for directory in directories
    ]
    results = [
        _result(run, directory, {field: _value(run, field) for field in fields}, report)
        for run, directory, report in zip(runs, directories, reports, strict=True)
    ]
    training = [
        _known(read_json(path), path, damaged)
        for path in (directory / "evaluation" / "during_training.json" for directory in directories)
    ]
    names = [run.name for run in runs]
    notes = _conditions(names, {"of the last step": reports, "while training": training})
    notes.warnings.extend(damaged)
    notes.warnings.extend(
        f"{name}: {reason}"
        for name, report in zip(names, reports, strict=True)
        for reason in _reasons_of_refusal(report)
    )
    notes.warnings.extend(
        f"{result.run.name} has failed: {result.error}" for result in results if result.error
    )
    return results, notes


def _value(run: Run, field: str) -> Any:
    value = run.config
    for key in field.split("."):
        value = value[key]
    return value


def _result(
    run: Run, directory: epath.Path, differences: dict[str, Any], report: Mapping[str, Any]
) -> Result:
    rows, step = read_rows(directory / FILE_NAME), last_step(directory)
    scores = {name: score["value"] for name, score in report.get("scores", {}).items()}
    best = {}
    for score in dict.fromkeys(key for row in rows for key in row if "@" in key):
        steps = {int(row["step"] or 0): value for row in rows if (value := row.get(score)) is not None}
        value = metric_of(score).best(list(steps.values()))
        if value is not None:
            best[score] = value, next(step for step in steps if steps[step] == value)
    final = {name: value for name, value in scores.items() if value is not None}
    reached = max(step, int(rows[-1]["step"] or 0)) if rows else step  # its checkpoint may not exist yet
    status, error = f"step {reached:,} of {run.config.total_steps:,}", ""
    if is_finished(run, directory):
        status = FINISHED
    elif (message := last_message(directory)).startswith("error: "):
        status, error = f"failed at {status}", message.removeprefix("error: ")
    elif not (directory / "config.json").exists():
        status = NOT_STARTED
    return Result(run, directory, status, error, reached, differences, final, best, rows)


def _reasons_of_refusal(report: Mapping[str, Any]) -> list[str]:
    """Returns why scores of a report are not meaningful, once for each reason."""
    reasons = (score.get("reason") for score in report.get("scores", {}).values())
    return [f"scores are not meaningful: {reason}" for reason in dict.fromkeys(filter(None, reasons))]


def _conditions(names: Sequence[str], reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> Notes:
    """Returns the conditions that the reports of each kind state; the report of a run may be empty."""
    notes = Notes([], [])
    stated: dict[str, list[str]] = {}  # the kinds of scores, by their conditions
    for kind, listed in reports.items():
        about = {name: _about(report) for name, report in zip(names, listed, strict=True) if report}
        first = next(iter(about.values()), None)
        if first is None:
            continue
        differing = [key for key in first if any(other[key] != first[key] for other in about.values())]
        for key in differing:
            values = "; ".join(f"{name}: {other[key]}" for name, other in about.items())
            notes.warnings.append(f"Scores {kind} don't compare, because they differ in {key}: {values}")
        if not differing:
            words = "; ".join(f"{key}: {value}" for key, value in first.items())
            stated.setdefault(words, []).append(kind)
    notes.sentences.extend(f"Scores {' and '.join(kinds)}: {words}" for words, kinds in stated.items())
    return notes


def _known(report: Mapping[str, Any] | None, path: epath.Path, damaged: list[str]) -> Mapping[str, Any]:
    """Returns a report; an empty one if it is missing or damaged, which `damaged` then says."""
    if not report:
        return {}
    try:
        _about(report)
        if not all(
            isinstance(score["value"], int | float | None) for score in report.get("scores", {}).values()
        ):
            raise TypeError("its scores are no numbers")
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        damaged.append(f"{path} is damaged ({type(error).__name__}: {error}): evaluate the run again")
        return {}
    return report


def _about(report: Mapping[str, Any]) -> dict[str, str]:
    network, reference, statistics = report["network"], report["reference"], report["statistics"]
    return {
        "network": f"{network['network']} {network['weights_hash'][:12]}",
        "samples": f"{report['num_samples']:,} at {report['resolution']} px",
        "truncation": f"{report['truncation']:g}" if report["truncation"] else "none",
        "weights": report["weights"],
        "batch norm": f"{statistics['mode']} statistics",
        "compared with": _real_images(report, reference),
    }


def _real_images(report: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """Returns one description for a report of biggan_jax.evaluate and for one that training wrote."""
    count = reference.get("images", report.get("reference_images"))
    description = reference.get("training") or reference.get("description") or reference["source"]
    return description if count is None else f"{count:,} images ({description})"
