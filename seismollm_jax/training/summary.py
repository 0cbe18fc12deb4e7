"""The first lines of a run: what is trained, on what, with what."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax

from seismollm_jax.data import catalogue, mixture, splits
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import path
from seismollm_jax.parallel import Layout
from seismollm_jax.training.start import STATISTICS


def summary(
    experiment: Experiment,
    state: Mapping[str, Any],
    frozen: Mapping[str, Any],
    standing: Mapping[str, Any],
    dataset: Any,
    parts: catalogue.Parts,
    layout: Layout,
) -> list[str]:
    """Lines for people.

    Args:
        experiment: of the run.
        state: of the training, for the parameters that learn.
        frozen: parameters that stay.
        standing: what the checkpoints of the run say alike.
        dataset: of the run.
        parts: its split.
        layout: how arrays lie on the devices.
    """
    config = experiment.config
    rows = ", ".join(f"{name} {len(part)}" for name, part in parts.rows.items())
    lines = [
        f"task {experiment.task.name} ({experiment.task.short_name}), model "
        f"{experiment.family.name}; parameters:",
        *(f"  {line}" for line in parameters(experiment, state["params"], frozen)),
        f"weights: {standing['pretrained']['source']}",
        f"precision: {config['precision']['compute']}, products of float32 "
        f"{config['precision']['matmul']}",
        f"batch norms: statistics {STATISTICS[config['train']['batch_norm']]}",
        *devices(layout, config["train"]),
        f"data: {dataset.path}, {len(dataset.table)} traces; {rows} (split by "
        f"{config['data']['split']['by']}, hash {parts.hash})",
    ]
    lines += [f"  {line}" for line in mixture.summary(dataset, parts.rows)]
    lines += [f"  {line}" for line in parts.report()]
    if labelled := standing["labelled"]:
        counts = ", ".join(f"{count} with {name}" for name, count in labelled.items())
        lines.append(f"  training records: {counts}")
    lines += [f"  {line}" for line in catalogue.lacking_labels(labelled)]
    events, traces = splits.shared_events(parts.rows, dataset.table)
    if events:
        lines.append(
            f"  {events} events have traces in more than one part ({traces} traces), so scores "
            "come out better than on events never seen; data.split.by=event keeps events together"
        )
    return lines + [f"  {line}" for line in str(dataset.report).splitlines()]


def parameters(
    experiment: Experiment, learning: Mapping[str, Any], frozen: Mapping[str, Any]
) -> list[str]:
    """A table of how many parameters of each kind learn and how many stay, with the sums."""
    counts: dict[str, Counter[str]] = {}
    for column, arrays in (("learn", learning), ("frozen", frozen)):
        for name, leaf in arrays.items():
            counts.setdefault(experiment.family.kind(path(name)), Counter())[column] += leaf.size
    rows = [(kind, count["learn"], count["frozen"]) for kind, count in sorted(counts.items())]
    rows.append(("total", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    widths = [max(len("frozen"), *(len(f"{row[n]:,}") for row in rows)) + 3 for n in (1, 2)]
    first = max(len(row[0]) for row in rows)
    lines = [f"{'':<{first}}{'learn':>{widths[0]}}{'frozen':>{widths[1]}}"]
    for kind, learn, stay in rows:
        lines.append(f"{kind:<{first}}{learn:>{widths[0]},}{stay:>{widths[1]},}")
    return lines


def devices(layout: Layout, settings: Mapping[str, Any]) -> list[str]:
    """Devices, the mesh over them, and each one's share of a batch; `settings` are `train`'s."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in layout.mesh.shape.items())
    share = settings["batch_size"] // layout.devices
    batch = f"batch: {settings['batch_size']} windows, {share} on each device"
    if settings["accumulate"] > 1:
        batch += f" in {settings['accumulate']} micro-batches of {share // settings['accumulate']}"
    return [
        f"devices: {layout.devices} x {jax.devices()[0].device_kind}, "
        f"{jax.process_count()} process(es)",
        f"mesh: {mesh} over {layout.devices} devices",
        batch,
    ]
