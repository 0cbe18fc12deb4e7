"""The computations of a compiled program, read from its text: which are run, and how often."""

import dataclasses
import re

_HEADER = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) \(")
# What an instruction calls: as a part of itself, or as the next ones. Reductions call theirs for
# each element (`to_apply`), which is arithmetic alone; a `call` has the same word for its own.
_PART = re.compile(r"\bcalls=%?([\w.-]+)")
_NEXT = re.compile(
    r" call\(.*\bto_apply=%?([\w.-]+)|\b(?:true|false)_computation=%?([\w.-]+)"
    r"|\bbranch_computations=\{([^}]*)\}"
)
_LOOP = re.compile(r" while\(.*\bcondition=%?([\w.-]+), body=%?([\w.-]+)")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_WHOLE_NUMBER = re.compile(r" = s(?:32|64)\[\]\S* constant\((\d+)\)")


@dataclasses.dataclass(frozen=True)
class Computation:
    """A list of instructions with a name.

    Attributes:
        name: in the program.
        lines: its instructions.
        times: how often it is run in a call of the program.
        caller: the instruction that calls it; empty for the entry.
        scheduled: whether its instructions are run one after the other, and not as a part of the
            one that calls it (fusions).
    """

    name: str
    lines: tuple[str, ...]
    times: int
    caller: str
    scheduled: bool


def used(text: str) -> list[Computation]:
    """The entry computation and all that it calls, directly or not.

    One that is called at several places is there for each of them. Of the branches of a condition
    all are there.

    Raises:
        ValueError: a loop without a known number of turns.
    """
    lines_of, entry = _by_name(text)
    found: list[Computation] = []

    def visit(name: str, times: int, caller: str, scheduled: bool) -> None:
        lines = lines_of.get(name, ())
        found.append(Computation(name, lines, times, caller, scheduled))
        for line in lines:
            if loop := _LOOP.search(line):
                turns = _turns(line, lines_of.get(loop[1], ()))
                visit(loop[2], times * turns, line, scheduled)
                continue
            for called in _PART.findall(line):
                visit(called, times, line, False)
            for names in _NEXT.findall(line):
                for called in re.findall(r"[\w.-]+", " ".join(names)):
                    visit(called, times, line, scheduled)

    if entry:
        visit(entry, 1, "", True)
    return found


def _by_name(text: str) -> tuple[dict[str, tuple[str, ...]], str]:
    """Name -> instructions, and the name of the entry."""
    found: dict[str, tuple[str, ...]] = {}
    lines: list[str] = []
    entry = name = ""
    for line in text.splitlines():
        if header := _HEADER.match(line) if line.endswith("{") else None:
            name, lines = header["name"], []
            if header["entry"]:
                entry = name
        elif line.startswith("}") and name:
            found[name], name = tuple(lines), ""
        elif name:
            lines.append(line)
    return found, entry


def _turns(line: str, condition: tuple[str, ...]) -> int:
    """How often a loop is run: as noted at it, or the only number that its condition knows.

    The loops of `jax.lax.scan` count from 0, and compare with their length.
    """
    if known := _TURNS.search(line):
        return int(known[1])
    numbers = {int(n) for part in condition for n in _WHOLE_NUMBER.findall(part)}
    if len(numbers) != 1:
        raise ValueError(
            f"a loop of the compiled program has no known number of turns: {line.strip()[:80]}"
        )
    return numbers.pop()
