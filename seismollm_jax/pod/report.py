"""What was found out about a program, as plain values, text, and rows of a table."""

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from seismollm_jax.pod import collectives
from seismollm_jax.pod.chips import GIB, Mesh
from seismollm_jax.pod.collectives import Collective
from seismollm_jax.pod.program import Program, needed_gib
from seismollm_jax.pod.roofline import passes, roofline, scaling

ASSUMPTIONS = (
    "Nothing was measured. The step at least: arithmetic, memory and network each at their "
    "published peak and all at once, which no program reaches. The compiler's estimate: the sum "
    "of the cycles that it expects of each instruction, without collectives. Scaling: the longest "
    "of compute, memory and the compiler's estimate, then the collectives, as if nothing "
    "overlapped, with 1 us for each chip that a message passes. Input from the host is assumed to "
    "keep up."
)

HELD, HELD_MORE = 4, 8  # bytes of a parameter, and what Adam adds of one that learns


def make(
    config: Mapping[str, Any],
    mesh: Mesh,
    others: Sequence[Mesh],
    batch_per_chip: int,
    program: Program,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything of the report, for JSON.

    Args:
        config: the configuration that was compiled.
        mesh: for which chips.
        others: on which chips of that family to predict it.
        batch_per_chip: samples.
        program: of `program.lower`.
        found: of `program.compile_program`.
    """
    slice_, chip = mesh.slice_, mesh.slice_.chip
    values: dict[str, Any] = {
        "task": config["task"],
        "window": config["data"]["window"],
        "precision": dict(config["precision"]),
        "settings": {
            "mesh.fsdp": config["mesh"]["fsdp"],
            "train.accumulate": config["train"]["accumulate"],
            "train.rematerialise": config["train"]["rematerialise"],
            "optim.average": config["optim"]["average"],
        },
        "topology": slice_.name,
        "chips": slice_.chips,
        "batch_per_chip": batch_per_chip,
        "batch_size": program.batch_size,
        "parameters": program.parameters,
        "trainable": program.trainable,
        "chip": {
            **{k: v for k, v in dataclasses.asdict(chip).items() if k != "description"},
        },
        "versions": found["versions"],
        "compile_s": found["compile_s"],
    }
    if "overflow" in found:
        needs = needed_gib(found["overflow"])
        return {**values, "fits": False, "needed_gib": needs, "compiler": found["overflow"]}
    memory = found["memory"]
    all_of_them = [
        Collective(**{**one, "axes": tuple(one["axes"])}) for one in found["collectives"]
    ]
    used = (
        *(memory[name] for name in ("argument", "output", "temp", "generated_code")),
        -memory["alias"],  # outputs in the place of arguments
    )
    times = passes(config["precision"]["compute"], config["precision"]["matmul"])
    bounds = roofline(program.flops, found["hbm_bytes"], all_of_them, mesh, times)
    estimate = found["estimated_cycles"] / chip.clock_hz
    alone = max(bounds.compute_s, bounds.hbm_s, estimate)
    points = scaling(alone, all_of_them, others, batch_per_chip)
    return {
        **values,
        "fits": True,
        "memory": {
            **memory,
            "peak": sum(used),
            "usable": chip.usable_hbm_bytes,
            "share": sum(used) / chip.usable_hbm_bytes,
        },
        "flops": {
            "counted": program.flops,
            "compiler": found["compiler"]["flops"],
            "passes": times,
        },
        "bytes_moved": {
            "hbm": found["hbm_bytes"],
            "compiler": found["compiler"]["bytes accessed"],
        },
        "collectives": collectives.totals(all_of_them),
        "gradient_bytes": program.gradient_bytes,
        "roofline": {
            **dataclasses.asdict(bounds),
            "step_s": bounds.step_s,
            "bound": bounds.bound,
            "samples_per_s_per_chip": batch_per_chip / bounds.step_s,
            "samples_per_s": program.batch_size / bounds.step_s,
        },
        "compiler_estimate_s": estimate,
        "alone_s": alone,
        "scaling": [dataclasses.asdict(point) for point in points],
        "assumptions": ASSUMPTIONS,
    }


def as_text(report: Mapping[str, Any]) -> str:
    """For people."""
    chip = report["chip"]
    precision, batch = report["precision"], report["batch_per_chip"]
    settings = also(report)
    lines = [
        f"{report['task']}, window {report['window']}, {precision['compute']} (matmul "
        f"{precision['matmul']}): {report['parameters']:,} parameters, "
        f"{report['trainable']:,} learn" + (f"; {settings}" if settings else ""),
        f"{report['topology']}: {report['chips']} chips, {batch} windows on each, "
        f"{report['batch_size']} in a batch",
    ]
    if not report["fits"]:
        return "\n".join([*lines, why_not(report)])
    memory, bounds = report["memory"], report["roofline"]
    counted, compiled = report["flops"]["counted"], report["flops"]["compiler"]
    moved = report["bytes_moved"]
    peak = f"{chip['bf16_flops'] / 1e12:.0f} TFLOP/s"
    hbm, link = (f"{chip[f'{name}_bandwidth'] / 1e9:.0f} GB/s" for name in ("hbm", "link"))
    rows = [
        ("memory", f"{_size(memory['peak'])} of {_size(memory['usable'])} ({memory['share']:.0%})"),
        ("  arguments", _size(memory["argument"])),
        ("  temporary", _size(memory["temp"])),
        ("  program", _size(memory["generated_code"])),
        ("operations", f"{counted / 1e9:,.2f} GFLOP in products and convolutions"),
        ("  as the compiler counts", f"{compiled / 1e9:,.2f} GFLOP" if compiled else "not told"),
        ("memory traffic (HBM)", f"{moved['hbm'] / 1e9:.3f} GB"),
        ("  as the compiler counts", f"{moved['compiler'] / 1e9:.3f} GB, on-chip memory as well"),
    ]
    for name, total in report["collectives"].items():
        rows.append((name, f"{total['count']} x, {total['bytes'] / 1e6:.3f} MB"))
    if not report["collectives"]:
        rows.append(("collectives", "none"))
    rows += [
        ("compute", f"{_ms(bounds['compute_s'])} at {peak}"),
        ("memory (HBM)", f"{_ms(bounds['hbm_s'])} at {hbm}"),
        ("network (ICI)", f"{_ms(bounds['ici_s'])} at {link} a link in each direction"),
        ("step, at least", f"{_ms(bounds['step_s'])}, bound by {bounds['bound']}"),
        ("compiler's estimate", f"{_ms(report['compiler_estimate_s'])}, without collectives"),
        (
            "windows/s, at most",
            f"{bounds['samples_per_s']:,.0f}, {bounds['samples_per_s_per_chip']:,.0f} a chip",
        ),
    ]
    lines += ["", "One chip, one step:", *(f"  {name:<34}{value}" for name, value in rows), ""]
    lines += [
        "Scaling, the same batch on each chip:",
        f"  {'slice':<12}{'chips':>6}{'batch':>9}{'step':>11}{'windows/s':>13}{'efficiency':>12}",
    ]
    for point in report["scaling"]:
        lines.append(
            f"  {point['topology']:<12}{point['chips']:>6}"
            f"{point['chips'] * batch:>9}{_ms(point['step_s']):>11}"
            f"{point['samples_per_s']:>13,.0f}{point['efficiency']:>12.1%}"
        )
    return "\n".join(
        [*lines, "", *textwrap.wrap(ASSUMPTIONS, 100), f"Published peaks: {chip['source']}"]
    )


def also(report: Mapping[str, Any]) -> str:
    """The settings besides task, window and precision that are not as usual, in words."""
    settings = report["settings"]
    words = {
        "mesh.fsdp": f"split over {settings['mesh.fsdp']}",
        "train.accumulate": f"{settings['train.accumulate']} micro-batches",
        "train.rematerialise": "rematerialised",
        "optim.average": "averaged",
    }
    usual = {"mesh.fsdp": 1, "train.accumulate": 1, "train.rematerialise": False}
    return ", ".join(said for name, said in words.items() if settings[name] != usual.get(name, 0.0))


def why_not(report: Mapping[str, Any]) -> str:
    """That a program does not fit, and what to do."""
    usable = report["chip"]["usable_hbm_bytes"] / GIB
    batch, needs = report["batch_per_chip"], report["needed_gib"]
    amount, smaller = "more memory than a chip's", max(1, batch // 2)
    if needs:
        amount = f"at least {needs:.1f} GiB; a chip has"
        smaller = max(1, min(smaller, int(batch * usable / needs * 0.9)))
    remedies = [f"--batch_per_chip={smaller}"] if batch > 1 else []
    if report["precision"]["compute"] == "float32":
        remedies.append("--config.precision.compute=bfloat16")
    if not report["settings"]["train.rematerialise"]:
        remedies.append("--config.train.rematerialise=True")
    held = HELD * report["parameters"] + HELD_MORE * report["trainable"]
    held /= report["settings"]["mesh.fsdp"] * report["chip"]["usable_hbm_bytes"]
    if held > 0.1:
        remedies.insert(0 if held > 0.5 else len(remedies), "a larger --config.mesh.fsdp")
    remedies.append("a shorter --config.data.window, or a chip with more memory")
    return f"does not fit: needs {amount} {usable:.2f} GiB for it. Try {', '.join(remedies)}"


def as_json(report: Mapping[str, Any]) -> str:
    """For programs."""
    return json.dumps(report, indent=1) + "\n"


def as_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Several reports as one Markdown table."""
    lines = [
        "| task | window | parameters, millions | precision | also | slice | batch per chip | "
        "memory per chip, GiB | TFLOP | GB moved | collectives: number, MB | "
        "step at least, ms, bound by | step expected, ms | windows/s | efficiency |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        cells = [
            *(report["task"], report["window"], f"{report['parameters'] / 1e6:.1f}"),
            *(report["precision"]["compute"], also(report)),
            *(report["topology"], report["batch_per_chip"]),
        ]
        usable = f"{report['chip']['usable_hbm_bytes'] / GIB:.2f}"
        if not report["fits"]:
            needs = f"at least {report['needed_gib']:.2f}" if report["needed_gib"] else "more"
            cells += [f"{needs} of {usable}: does not fit", *[""] * 7]
        else:
            bounds = report["roofline"]
            collective = report["collectives"].values()
            count = sum(total["count"] for total in collective)
            size = sum(total["bytes"] for total in collective)
            alone = report["alone_s"]
            step_s = alone + bounds["ici_s"]
            cells += [
                f"{report['memory']['peak'] / GIB:.2f} of {usable}",
                f"{report['flops']['counted'] / 1e12:.2f}",
                f"{report['bytes_moved']['hbm'] / 1e9:.1f}",
                f"{count}, {size / 1e6:.1f}",
                f"{1e3 * bounds['step_s']:.1f}, {bounds['bound']}",
                f"{1e3 * step_s:.1f}",
                f"{report['batch_size'] / step_s:,.0f}",
                f"{alone / step_s:.0%}",
            ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _size(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 10 else f"{1024 * size / GIB:.2f} MiB"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"
