"""Adds up the costs in the text of a compiled program (HLO), with each loop as often as it repeats.

The compiler's own totals count the body of a loop once, but the D updates, micro-batches and steps of a call
are loops.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{")
# The shape of the result contains spaces, but none before a word and a bracket.
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?[\w.-]+ = (.+?) ([a-z][\w-]*)\(")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d\w*)\[([\d,]*)\]")


class Totals(NamedTuple):
    """The costs of one call of a program on one device.

    Attributes:
      cycles: The compiler's estimate for all operations but collectives; 0 except on TPUs.
      cycles_counting_loops_once: The same, with the body of each loop counted once.
      collective_bytes: Bytes of the results of collectives.
    """

    cycles: int
    cycles_counting_loops_once: int
    collective_bytes: int


class _Instruction(NamedTuple):
    shape: str
    operation: str
    line: str


def totals(text: str) -> Totals:
    """Adds up the costs of a program.

    Args:
      text: Result of `jax.stages.Compiled.as_text()`.

    Returns:
      The costs of one call.
    """
    computations, entry = _parse(text)
    repetitions = _repetitions(computations, entry)
    cycles = once = exchanged = 0
    for name, count in repetitions.items():
        for instruction in computations[name]:
            if estimate := re.search(r'"estimated_cycles":"(\d+)"', instruction.line):
                cycles += count * int(estimate[1])
                once += int(estimate[1])
            if instruction.operation.removesuffix("-start") in COLLECTIVES:
                exchanged += count * _exchanged(instruction)
    return Totals(cycles, once, exchanged)


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """Returns the instructions of each computation, and the name of the entry computation."""
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


def _repetitions(computations: dict[str, list[_Instruction]], entry: str) -> dict[str, int]:
    """Returns how often each computation runs in one call."""
    repetitions: dict[str, int] = collections.defaultdict(int)
    pending = [(entry, 1)]
    while pending:
        name, count = pending.pop()
        repetitions[name] += count
        for instruction in computations[name]:
            inner = count
            if instruction.operation == "while":
                inner *= _trip_count(computations, instruction)
            pending += [(called, inner) for called in _called(instruction)]
    return repetitions


def _called(instruction: _Instruction) -> Iterator[str]:
    yield from _CALLED.findall(instruction.line)
    if branches := _BRANCHES.search(instruction.line):
        yield from re.findall(r"[\w.-]+", branches[1])


def _trip_count(computations: dict[str, list[_Instruction]], loop: _Instruction) -> int:
    """Returns the repetitions of a loop: the compiler's note, the limit of a `lax.scan`, or else 1."""
    if noted := re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.line):
        return int(noted[1])
    condition = re.search(r"\bcondition=%?([\w.-]+)", loop.line)
    instructions = computations[condition[1]] if condition else []
    limits = [re.search(r" constant\((\d+)\)", instruction.line) for instruction in instructions]
    limits = [int(limit[1]) for limit in limits if limit]
    return limits[0] if len(limits) == 1 else 1


def _exchanged(instruction: _Instruction) -> int:
    """Returns the bytes of a collective's result; some start operations list operands before results."""
    sizes = [_bytes(*shape) for shape in _SHAPE.findall(instruction.shape)]
    if instruction.operation in ("all-gather-start", "collective-permute-start"):
        sizes = sizes[len(sizes) // 2 :]
    return sum(sizes)


def _bytes(dtype: str, sizes: str) -> int:
    bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])  # pyright: ignore[reportOptionalSubscript]
    return math.prod(map(int, filter(None, sizes.split(",")))) * bits // 8
