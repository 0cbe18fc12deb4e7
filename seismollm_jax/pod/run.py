"""One run of the command: parse, lower, compile, report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from seismollm_jax.data.remote import cache_folder
from seismollm_jax.pod import chips, report
from seismollm_jax.pod.program import (
    compile_program,
    layout_on,
    lower,
    mesh_on,
    other_meshes,
    progress,
)


class DoesNotFitError(ValueError):
    """A program that needs more memory than a chip has."""


def run(
    config: Mapping[str, Any],
    topology: str,
    batch_per_chip: int,
    *,
    json_file: str | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Compiles the training step of a configuration for a slice and prints the report.

    Args:
        config: a configuration of `configs/`, as plain dictionaries.
        topology: as `chips.parse` takes it.
        batch_per_chip: samples.
        json_file: gets the report as well, if given.
        cache: folder of earlier figures; by default `pod` in this package's cache.

    Returns:
        The report.

    Raises:
        ValueError: a configuration or topology that does not fit.
        DoesNotFitError: too much memory; the JSON file is written all the same.
        ImportError: no libtpu.
    """
    # The compiler runs on the host's processor, whatever devices this machine has.
    jax.config.update("jax_platforms", "cpu")
    slice_ = chips.parse(topology)
    fsdp = config["mesh"]["fsdp"]
    layout = layout_on(slice_, fsdp)
    with progress("tracing the training step"):
        program = lower(config, layout, batch_per_chip)
    found = compile_program(program, slice_.name, cache or cache_folder() / "pod")
    if found["cached"]:
        print(f"the same program was compiled before, in {found['compile_s']:.0f} s")
    mesh, others = mesh_on(slice_, layout), other_meshes(slice_, fsdp)
    values = report.make(config, mesh, others, batch_per_chip, program, found)
    if json_file:
        Path(json_file).write_text(report.as_json(values))
    if not values["fits"]:
        raise DoesNotFitError(f"{slice_.name}, {report.why_not(values)}")
    print(report.as_text(values))
    return values


def table(files: Sequence[str]) -> str:
    """The reports in JSON files as one Markdown table.

    Raises:
        ValueError: a file that is no report.
    """
    reports = []
    for file in files:
        try:
            values = json.loads(Path(file).read_text())
            values["fits"], values["topology"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no report of this command ({error})") from error
        reports.append(values)
    return report.as_table(reports)
