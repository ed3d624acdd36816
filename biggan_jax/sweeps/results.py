"""What the runs of a sweep have come to: how their configs differ, their scores, what these compare with."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from biggan_jax.config import flatten
from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.reading import Run
from biggan_jax.sweeps.workdirs import evaluation, is_finished, last_step, last_words, read_json
from biggan_jax.training.monitoring.curves import Row, read_rows
from biggan_jax.training.monitoring.metrics import FILE_NAME

FINISHED, NOT_BEGUN = "finished", "not begun"
HIGHER_IS_BETTER = ("is", "precision", "recall", "coverage", "recognised", "cas")
LOWER_IS_BETTER = ("fid", "kid")  # of density and diversity, more is not better without end


class Result(NamedTuple):
    """One run.

    Attributes:
      run: as the sweep file has it.
      directory: where it is.
      status: FINISHED, NOT_BEGUN, or how far it is.
      error: that it ended with, if it is not finished; or "".
      step: that it has reached.
      differences: the fields in which the runs differ, with this one's values.
      judged: scores of the newest checkpoint, by biggan_jax.evaluate.
      best: while it trained, the best of each score, and its step.
      rows: of metrics.
    """

    run: Run
    directory: epath.Path
    status: str
    error: str
    step: int
    differences: dict[str, Any]
    judged: dict[str, float]
    best: dict[str, tuple[float, int]]
    rows: list[Row]


class Notes(NamedTuple):
    """Under what scores were taken, in words; where they don't compare, and which runs have failed."""

    sentences: list[str]
    warnings: list[str]


def collect(runs: Sequence[Run], workdir: epath.Path) -> tuple[list[Result], Notes]:
    """Reads the results of all runs, also of those that have not begun.

    Raises:
      UserError: none has begun.
    """
    if not any((workdir / run.name).exists() for run in runs):
        raise UserError(
            f"--workdir={workdir}: no run of this sweep has begun there; start it without --summary"
        )
    configs = [flatten(run.config.to_dict()) for run in runs]
    fields = [field for field in configs[0] if any(config[field] != configs[0][field] for config in configs)]
    reports = [evaluation(workdir / run.name) or {} for run in runs]
    results = [
        _result(run, workdir / run.name, {field: config[field] for field in fields}, report)
        for run, config, report in zip(runs, configs, reports, strict=True)
    ]
    training = [read_json(workdir / run.name / "evaluation" / "during_training.json") or {} for run in runs]
    names = [run.name for run in runs]
    found = _conditions(names, {"of the last step": reports, "while training": training})
    found.warnings.extend(
        f"{result.run.name} has failed: {result.error}" for result in results if result.error
    )
    return results, found


def better(score: str, values: Sequence[float]) -> float | None:
    """The best value of a score such as `fid@classifier`; None where neither more nor less is better."""
    if not values or kind(score) not in HIGHER_IS_BETTER + LOWER_IS_BETTER:
        return None
    return max(values) if kind(score) in HIGHER_IS_BETTER else min(values)


def kind(score: str) -> str:
    """`fid@classifier` → `fid`."""
    return score.partition("@")[0]


def _result(
    run: Run, directory: epath.Path, differences: dict[str, Any], report: Mapping[str, Any]
) -> Result:
    rows, step = read_rows(directory / FILE_NAME), last_step(directory)
    judged = {name: score["value"] for name, score in report.get("scores", {}).items()}
    best = {}
    for score in dict.fromkeys(key for row in rows for key in row if "@" in key):
        steps = {row["step"]: row[score] for row in rows if row.get(score) is not None}
        value = better(score, list(steps.values()))
        if value is not None:
            best[score] = value, next(step for step in steps if steps[step] == value)
    known = {name: value for name, value in judged.items() if value is not None}
    reached = max(step, rows[-1]["step"]) if rows else step  # there may be no checkpoint of it yet
    status, error = f"step {reached:,} of {run.config.total_steps:,}", ""
    if is_finished(run, directory):
        status = FINISHED
    elif (said := last_words(directory)).startswith("error: "):
        status, error = f"failed at {status}", said.removeprefix("error: ")
    elif not (directory / "config.json").exists():
        status = NOT_BEGUN
    return Result(run, directory, status, error, reached, differences, known, best, rows)


def _conditions(names: Sequence[str], reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> Notes:
    """Of what the reports of each kind say of themselves; an empty report is of a run that was not judged."""
    found = Notes([], [])
    stated: dict[str, list[str]] = {}  # the kinds of scores, by what is said of them
    for kind, listed in reports.items():
        about = {name: _about(report) for name, report in zip(names, listed, strict=True) if report}
        first = next(iter(about.values()), None)
        if first is None:
            continue
        differing = [key for key in first if any(other[key] != first[key] for other in about.values())]
        for key in differing:
            values = "; ".join(f"{name}: {other[key]}" for name, other in about.items())
            found.warnings.append(f"Scores {kind} don't compare, for they differ in {key}: {values}")
        if not differing:
            words = "; ".join(f"{key}: {value}" for key, value in first.items())
            stated.setdefault(words, []).append(kind)
    found.sentences.extend(f"Scores {' and '.join(kinds)}: {words}" for words, kinds in stated.items())
    return found


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
    """The same words for a report of biggan_jax.evaluate and for one that was written while a run trained."""
    count = reference.get("images", report.get("reference_images"))
    said = reference.get("training") or reference.get("description") or reference["source"]
    return said if count is None else f"{count:,} images ({said})"
