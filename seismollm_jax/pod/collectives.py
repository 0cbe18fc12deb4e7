"""The collective operations of a compiled program, read from its text."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from seismollm_jax.pod.computations import Computation, used
from seismollm_jax.pod.traffic import bits_of

REDUCE_SCATTER = "reduce-scatter"
OPERATIONS = (
    *("all-reduce", "all-gather", REDUCE_SCATTER, "all-to-all", "ragged-all-to-all"),
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
_CHANNEL = re.compile(r"channel_id=(\d+)")
_EXPLICIT_GROUP = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_REGULAR_GROUPS = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)")
_MESH_GROUPS = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?)\))?"
    r" ?\{([^}]*)\}"
)

GRADIENTS, STATISTICS, WEIGHTS, OTHER = "gradients", "batch norm", "weights", "other"


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation.

    Attributes:
        operation: one of `OPERATIONS`.
        bytes: of the whole array that is reduced or put together, on one chip.
        group: chips that take part; 0 for all.
        purpose: of most of its bytes, since the compiler puts several into one: gradients of
            parameters; batch norm, which are its statistics, their gradients and those of its own
            parameters; weights that are split over chips and put together for use; other, such as
            the loss.
        axes: of the mesh that the group lies along.
        times: how often it is done in a step, more than once in a loop over micro-batches.
    """

    operation: str
    bytes: int
    group: int
    purpose: str
    axes: tuple[str, ...]
    times: int = 1


def find(text: str, mesh: Mapping[str, int]) -> list[Collective]:
    """All collectives of a program, `Compiled.as_text()`, each once.

    On TPUs some are not instructions of their own: a reduction of which each chip keeps a part is
    a fusion that reduces and cuts, and one that goes on beside the arithmetic is named again in
    each fusion of which it is a part, always with the same channel.

    Args:
        text: of the program.
        mesh: its axes with their sizes, in order.

    Raises:
        ValueError: an array type of unknown size; a loop of unknown length.
    """
    batch_norm = _frames_of(text.splitlines(), "BatchNorm.")
    found: dict[object, Collective] = {}
    for part in used(text):
        made_by = {
            match["name"]: match for line in part.lines if (match := _DEFINITION.match(line))
        }
        for line in part.lines:
            if match := _INSTRUCTION.match(line):
                channel = _CHANNEL.search(line)
                key = (match["operation"], channel[1]) if channel else len(found)
                if key not in found:
                    found[key] = _read(line, match, part, made_by, batch_norm, mesh)
    return list(found.values())


def totals(collectives: Iterable[Collective]) -> dict[str, dict[str, int]]:
    """Operation and purpose -> how many there are in a step, and their bytes."""
    table: dict[str, dict[str, int]] = {}
    for one in collectives:
        row = table.setdefault(f"{one.operation}, {one.purpose}", {"count": 0, "bytes": 0})
        row["count"] += one.times
        row["bytes"] += one.times * one.bytes
    return table


def _read(
    line: str,
    match: re.Match[str],
    part: Computation,
    made_by: Mapping[str, re.Match[str]],
    batch_norm: set[str],
    mesh: Mapping[str, int],
) -> Collective:
    operation, members = match["operation"], _members(line)
    arrays = [_bytes(array) for array in _ARRAY.finditer(match["type"])]
    if match["start"] and operation != "all-reduce":
        # (operands, results, contexts): without the contexts, which are single numbers.
        arrays = [size for size in arrays if size > 4] or arrays
        arrays = arrays[len(arrays) // 2 :]
    size = sum(arrays) * (len(members) if operation == REDUCE_SCATTER and members else 1)
    shares = dict.fromkeys((GRADIENTS, STATISTICS, WEIGHTS, OTHER), 0)
    for name, share in zip(_OPERAND.findall(match["operands"]), arrays, strict=False):
        # Within a fusion there may be no word on its origin but at the fusion itself.
        origin = _origin(name, made_by) or (line if _FRAME.search(line) else part.caller)
        shares[_purpose(operation, line, origin, batch_norm)] += share
    if part.name.startswith("all-reduce-scatter"):
        operation = REDUCE_SCATTER  # the type is that before the cut
    return Collective(
        operation=operation,
        bytes=size,
        group=len(members),
        purpose=max(shares, key=lambda name: shares[name]),
        axes=_axes(members, mesh),
        times=part.times,
    )


def _bytes(array: re.Match[str]) -> int:
    # Without the filling of tiles, which `traffic` counts: that does not go over the network.
    sizes = (int(n) for n in array["sizes"].split(",") if n)
    return math.prod(sizes) * bits_of(array["dtype"]) // 8


def _members(line: str) -> Sequence[int]:
    """The first group of chips that take part, by their numbers in the mesh; none for all."""
    if found := _EXPLICIT_GROUP.search(line):
        return [int(n) for n in found[1].split(",")]
    if found := _REGULAR_GROUPS.search(line):
        return _numbered(found[3]).reshape(int(found[1]), int(found[2]))[0].tolist()
    if found := _MESH_GROUPS.search(line):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", found[1])}
        along = re.findall(r"'([^']+)'", found[3])
        count = math.prod(sizes.values())
        numbers = _numbered(found[2] or f"[{count}]").reshape(*sizes.values())
        return (
            numbers[tuple(slice(None) if name in along else 0 for name in sizes)].ravel().tolist()
        )
    return []


def _numbered(words: str) -> np.ndarray:
    """`[4,2]T(1,0)`: the numbers from 0 in an array of 4 x 2, with its axes in the order 1, 0."""
    sizes, _, order = words.partition("T")
    shape = [int(n) for n in re.findall(r"\d+", sizes)]
    array = np.arange(math.prod(shape)).reshape(shape)
    return array.transpose([int(n) for n in re.findall(r"\d+", order)]) if order else array


def _axes(members: Sequence[int], mesh: Mapping[str, int]) -> tuple[str, ...]:
    if not members:
        return tuple(name for name, size in mesh.items() if size > 1)
    places = np.unravel_index(np.array(members), tuple(mesh.values()))
    return tuple(
        name for name, place in zip(mesh, places, strict=True) if len(np.unique(place)) > 1
    )


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


def _purpose(operation: str, line: str, origin: str, batch_norm: set[str]) -> str:
    itself = _OP_NAME.search(line)
    # As `Layout.collect` says it in the program that is compiled.
    if operation == "all-gather" and itself and itself[1].endswith("sharding_constraint"):
        return WEIGHTS
    frame, name = _FRAME.search(origin), _OP_NAME.search(origin)
    if frame and frame[1] in batch_norm:
        return STATISTICS
    if name and ("transpose(" in name[1] or name[1].endswith("/while")):
        return GRADIENTS  # of a micro-batch, or summed up over all of them
    return OTHER


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
