"""What the text of a compiled program (HLO) says of a whole call: loops count as often as they turn.

The compiler's own totals count the body of a loop once, and the D updates, micro-batches and steps of a call
are loops.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{")
# The result's shape has spaces of its own, but none of them before a word and a bracket.
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?[\w.-]+ = (.+?) ([a-z][\w-]*)\(")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d\w*)\[([\d,]*)\]")


class Totals(NamedTuple):
    """Of one call of the program, on one device."""

    cycles: int  # that the compiler estimates for what is not an exchange between devices; TPUs only
    cycles_counting_loops_once: int
    collective_bytes: int  # results of the exchanges between devices


class _Instruction(NamedTuple):
    shape: str
    operation: str
    line: str


def totals(text: str) -> Totals:
    """Adds up a program.

    Args:
      text: `jax.stages.Compiled.as_text()`.
    """
    computations, entry = _parse(text)
    turns = _turns(computations, entry)
    cycles = once = exchanged = 0
    for name, count in turns.items():
        for instruction in computations[name]:
            if estimate := re.search(r'"estimated_cycles":"(\d+)"', instruction.line):
                cycles += count * int(estimate[1])
                once += int(estimate[1])
            if instruction.operation.removesuffix("-start") in COLLECTIVES:
                exchanged += count * _exchanged(instruction)
    return Totals(cycles, once, exchanged)


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """The instructions of each computation, and the name of the computation that is the program."""
    computations: dict[str, list[_Instruction]] = {}
    entry = current = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = header[2]
            computations[current] = []
            entry = current if header[1] else entry
        elif current and (instruction := _INSTRUCTION.match(line)):
            computations[current].append(_Instruction(instruction[1], instruction[2], line))
    return computations, entry


def _turns(computations: dict[str, list[_Instruction]], entry: str) -> dict[str, int]:
    """How often each computation runs in one call."""
    turns: dict[str, int] = collections.defaultdict(int)
    waiting = [(entry, 1)]
    while waiting:
        name, count = waiting.pop()
        turns[name] += count
        for instruction in computations[name]:
            inner = count
            if instruction.operation == "while":
                inner *= _trip_count(computations, instruction)
            waiting += [(called, inner) for called in _called(instruction)]
    return turns


def _called(instruction: _Instruction) -> Iterator[str]:
    yield from _CALLED.findall(instruction.line)
    if branches := _BRANCHES.search(instruction.line):
        yield from re.findall(r"[\w.-]+", branches[1])


def _trip_count(computations: dict[str, list[_Instruction]], loop: _Instruction) -> int:
    """Turns of a loop: as the compiler notes them, or the number that `lax.scan` counts up to; else 1."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.line):
        return int(known[1])
    condition = re.search(r"\bcondition=%?([\w.-]+)", loop.line)[1]
    limits = [re.search(r" constant\((\d+)\)", i.line) for i in computations[condition]]
    limits = [int(limit[1]) for limit in limits if limit]
    return limits[0] if len(limits) == 1 else 1


def _exchanged(instruction: _Instruction) -> int:
    """Bytes of the result; a start of a gathering or permutation names its operands before its results."""
    sizes = [_bytes(*shape) for shape in _SHAPE.findall(instruction.shape)]
    if instruction.operation in ("all-gather-start", "collective-permute-start"):
        sizes = sizes[len(sizes) // 2 :]
    return sum(sizes)


def _bytes(dtype: str, sizes: str) -> int:
    bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])
    return math.prod(map(int, filter(None, sizes.split(",")))) * bits // 8
