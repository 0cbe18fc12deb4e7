"""The collective operations of a compiled program, read from its text."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

from seismollm_jax.pod.traffic import bits_of

OPERATIONS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)
# The instruction `name = type operation(...)`. An asynchronous one is counted where it starts.
_INSTRUCTION = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.-]+ = (?P<type>.+?) (?P<operation>{'|'.join(OPERATIONS)})"
    r"(?P<start>-start)?\((?P<operands>[^)]*)\)"
)
_DEFINITION = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?:\(.*?\)|\S+) [a-z][a-z-]*\((?P<operands>[^)]*)\).*"
)
_OPERAND = re.compile(r"%([\w.-]+)")
_ARRAY = re.compile(r"(?P<dtype>[a-z]+\d*[a-z0-9]*)\[(?P<sizes>[\d,]*)\]")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_EXPLICIT_GROUP = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_REGULAR_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_MESH_GROUPS = re.compile(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}")

GRADIENTS, STATISTICS, OTHER = "gradients", "batch norm", "other"


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation.

    Attributes:
        operation: one of `OPERATIONS`.
        bytes: of the whole array that is reduced or put together, on one chip.
        group: chips that take part; 0 for all.
        purpose: of most of its bytes, since the compiler puts several into one: gradients of
            parameters; batch norm, which are its statistics, their gradients and those of its own
            parameters; other, such as the loss.
    """

    operation: str
    bytes: int
    group: int
    purpose: str


def find(text: str) -> list[Collective]:
    """All collectives of a program, `Compiled.as_text()`, each once.

    One within a loop would be counted once too; the networks here have no loops.

    Raises:
        ValueError: an array type of unknown size.
    """
    lines = text.splitlines()
    batch_norm = _frames_of(lines, "BatchNorm.")
    made_by = {match["name"]: match for line in lines if (match := _DEFINITION.match(line))}
    found = []
    for line in lines:
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        operation, group = match["operation"], _group(line)
        arrays = [_bytes(array) for array in _ARRAY.finditer(match["type"])]
        if match["start"] and operation != "all-reduce":
            # (operands, results, contexts): without the contexts, which are single numbers.
            arrays = [size for size in arrays if size > 4] or arrays
            arrays = arrays[len(arrays) // 2 :]
        size = sum(arrays) * (group if operation == "reduce-scatter" and group else 1)
        shares = dict.fromkeys((GRADIENTS, STATISTICS, OTHER), 0)
        for name, part in zip(_OPERAND.findall(match["operands"]), arrays, strict=False):
            shares[_purpose(_origin(name, made_by) or line, batch_norm)] += part
        purpose = max(shares, key=lambda name: shares[name])
        found.append(Collective(operation, size, group, purpose))
    return found


def totals(collectives: Iterable[Collective]) -> dict[str, dict[str, int]]:
    """Purpose and operation -> how many there are, and their bytes."""
    table: dict[str, dict[str, int]] = {}
    for one in collectives:
        row = table.setdefault(f"{one.operation}, {one.purpose}", {"count": 0, "bytes": 0})
        row["count"] += 1
        row["bytes"] += one.bytes
    return table


def _bytes(array: re.Match[str]) -> int:
    # Without the filling of tiles, which `traffic` counts: that does not go over the network.
    sizes = (int(n) for n in array["sizes"].split(",") if n)
    return math.prod(sizes) * bits_of(array["dtype"]) // 8


def _group(line: str) -> int:
    if found := _EXPLICIT_GROUP.search(line):
        return len(found[1].split(","))
    if found := _REGULAR_GROUPS.search(line):
        return int(found[1])
    if found := _MESH_GROUPS.search(line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", found[2]))
    return 0


def _origin(name: str, made_by: Mapping[str, re.Match[str]]) -> str | None:
    """The line that computes an array, or the first one before it that says where it comes from."""
    while match := made_by.get(name):
        if _FRAME.search(match[0]):
            return match[0]
        operand = _OPERAND.search(match["operands"])
        if not operand:
            return None
        name = operand[1]
    return None


def _purpose(line: str, batch_norm: set[str]) -> str:
    frame, name = _FRAME.search(line), _OP_NAME.search(line)
    if frame and frame[1] in batch_norm:
        return STATISTICS
    return GRADIENTS if name and "transpose(" in name[1] else OTHER


def _frames_of(lines: list[str], function: str) -> set[str]:
    """Numbers of the stack frames in or below functions whose name begins so.

    A program begins with tables: names of functions, places in them, frames with their callers.
    """
    tables = _tables(lines)
    functions = {
        number for number, row in tables["FunctionNames"].items() if row.startswith(f'"{function}')
    }
    places = {
        number
        for number, row in tables["FileLocations"].items()
        if _field(row, "function_name_id") in functions
    }
    inside: set[str] = set()
    for number, row in tables["StackFrames"].items():
        # The text has the caller's number plus one, 1 for none. Callers come first.
        caller = str(int(_field(row, "parent_frame_id") or 1) - 1)
        if _field(row, "file_location_id") in places or caller in inside:
            inside.add(number)
    return inside


def _tables(lines: list[str]) -> Mapping[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {
        "FunctionNames": {},
        "FileLocations": {},
        "StackFrames": {},
    }
    current: dict[str, str] | None = None
    for line in lines:
        if line in tables:
            current = tables[line]
        elif current is not None:
            number, _, row = line.partition(" ")
            if number.isdecimal():
                current[number] = row
            else:
                current = None
    return tables


def _field(row: str, name: str) -> str:
    found = re.search(rf"\b{name}=(\d+)", row)
    return found[1] if found else ""
