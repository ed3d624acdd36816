"""Runs the robustness scripts one after another and prints one table (make test-robust, make test-fuzz).

  python tests/robustness/run.py
  python tests/robustness/run.py --only=checkpoint_bits
  python tests/robustness/run.py --fuzz

A script is `tests/robustness/TOPIC.py` with `main()`; those that fuzz are named `fuzz_….py`, and run with
`--fuzz` alone. Each runs in a process of its own, on the CPU, and ends with its row of the table (tally.py).

Exit codes: 0 if no trial failed, 1 otherwise.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent)]

import compiling  # noqa: E402
from tally import HEADER  # noqa: E402

DEVICES = 4
FIXTURES = [HERE.parent / "sweeps", HERE.parent / "exports" / "weights"]  # modules that write valid files


def scripts(fuzz: bool) -> list[Path]:
    """Returns the scripts that have a `main`, in alphabetical order."""
    found = [
        p
        for p in sorted(HERE.glob("*.py"))
        if p != Path(__file__).resolve() and "\ndef main(" in p.read_text()
    ]
    return [path for path in found if path.stem.startswith("fuzz_") == fuzz]


def run(script: Path) -> tuple[str, bool]:
    """Runs one script, and shows what it prints; returns its row, and whether it succeeded."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, HERE.parent, HERE, *FIXTURES])),
    }
    with subprocess.Popen(
        [sys.executable, script], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        row = ""
        for line in process.stdout:
            if line.startswith("| "):
                row = line.rstrip()
            else:
                print(line, end="", flush=True)
    ended = process.returncode == 0 and row != ""
    return row or f"| {script.stem} | no result: exit code {process.returncode} | | | 1 | |", ended


def main() -> int:
    """Runs the scripts that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", help="name of a script; may be repeated")
    parser.add_argument("--fuzz", action="store_true", help="run the scripts that fuzz")
    options = parser.parse_args()
    compiling.set_defaults(DEVICES)
    chosen = scripts(options.fuzz)
    if options.only:
        chosen = [script for script in chosen if script.stem in options.only]
        if missing := set(options.only) - {script.stem for script in chosen}:
            parser.error(f"no such script: {', '.join(sorted(missing))}")
    rows, all_right = [], True
    for script in chosen:
        print(f"{script.stem} …", flush=True)
        row, right = run(script)
        rows.append(row)
        all_right = all_right and right
    print("\n".join([HEADER, *rows]))
    return 0 if all_right else 1


if __name__ == "__main__":
    sys.exit(main())
