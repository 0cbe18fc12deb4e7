"""Compares two networks in any two formats: settings, tensors, training state, outputs."""

import dataclasses
from pathlib import Path

import numpy as np

from seismollm_jax.conversion import comparison, tensor_files
from seismollm_jax.conversion.folding import fold
from seismollm_jax.conversion.foreign import ConfigFor, Given
from seismollm_jax.conversion.network import Network, identical
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.conversion.report import ConversionError, Report
from seismollm_jax.models.seismollm.names import GPT2_PREFIX, PLAIN_PREFIX

FOLDED_TOLERANCE = 1e-6  # of the largest magnitude, where adapters were folded on one side


def verify(a: Path, b: Path, *, given: Given, config_for: ConfigFor, report: Report) -> None:
    """Compares two networks; returns if nothing differs.

    Tensors must agree bit for bit, apart from those into which adapters were folded on one side.
    Outputs are compared between all frameworks that are installed. What one file does not say about
    itself is taken from the other, then from `given`.

    Args:
        a: a checkpoint directory, .pth, .pt or .safetensors file.
        b: another, of any of these formats.
        given: what neither says.
        config_for: as for `opening.open_network`.
        report: gets one row for each tensor, and the figures.

    Raises:
        ConversionError: they differ; all differences. Or one of them makes no network.
        FileError, CheckpointError: damaged, or something else.
    """
    first, second = _open_both(a, b, given, config_for)
    report.facts |= {
        "a": {"path": str(first.path), "format": first.format},
        "b": {"path": str(second.path), "format": second.format},
        "task": first.experiment.task.name,
    }
    adapted = [_adapted(network) for network in (first, second)]
    folded = set[str]() if all(adapted) else adapted[0] | adapted[1]
    asis = (first, second)
    if folded:
        first, second = fold(first), fold(second)
    problems = _settings(first, second, folded=bool(folded))
    problems += _tensors(first, second, folded, report)
    if not folded:
        problems += _training(first, second, report)
    if not problems:
        problems += _outputs(*asis, report)
    if problems:
        raise ConversionError(f"{a} and {b}", problems, "differ")


def _describes_itself(path: Path) -> bool:
    return path.is_dir() or "description" in tensor_files.open_file(path).notes


def _open_both(a: Path, b: Path, given: Given, config_for: ConfigFor) -> tuple[Network, Network]:
    for path in (a, b):
        if path.is_file():
            tensor_files.check(tensor_files.open_file(path))
        elif not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    if not _describes_itself(b):
        first = open_network(a, _own(a, given), config_for)
        return first, open_network(b, _like(first, given), config_for)
    second = open_network(b, _own(b, given), config_for)
    if _describes_itself(a):
        return open_network(a, _own(a, given), config_for), second
    return open_network(a, _like(second, given), config_for), second


def _own(path: Path, given: Given) -> Given:
    """What to tell about a file: to one that describes itself, nothing that it knows better."""
    if not _describes_itself(path):
        return given
    return Given(lossy_casts=given.lossy_casts, weights_only=given.weights_only)


def _like(network: Network, given: Given) -> Given:
    """What to tell about a file that is meant to be the same network."""
    experiment, options = network.experiment, network.experiment.sample_options
    visible = network.original.visible(experiment.settings)
    if visible.get("tuning") == "lora":  # which its adapters show
        del visible["tuning"]
    same = Given(
        task=experiment.task.name,
        sampling_rate_hz=options.sampling_rate_hz,
        window=options.window,
        normalisation=options.normalisation,
        **visible,
    )
    told = {name: value for name, value in vars(given).items() if value is not None}
    return dataclasses.replace(same, **told)


def _adapted(network: Network) -> set[str]:
    """The weights that have adapters, by the names that they get when these are folded in."""
    ending = ".base_layer.weight"
    return {
        key.replace(GPT2_PREFIX, PLAIN_PREFIX, 1).removesuffix(ending) + ".weight"
        for key in network.dtypes
        if key.endswith(ending)
    }


def _settings(a: Network, b: Network, *, folded: bool) -> list[str]:
    problems = []
    families = [network.experiment.family.name for network in (a, b)]
    if families[0] != families[1]:
        return [f"model: {families[0]} and {families[1]}"]
    ours, theirs = (dataclasses.asdict(network.config) for network in (a, b))
    unseen = a.original.unseen(a.experiment.settings, a.experiment.task.output)
    unseen |= {"tuning", "lora"} if folded else set()
    for name, value in ours.items():
        if name not in unseen and value != theirs[name]:
            problems.append(f"setting {name}: {value} and {theirs[name]}")
    contracts = a.experiment.contract(), b.experiment.contract()
    for name in contracts[0]:
        if contracts[0][name] != contracts[1][name]:
            problems.append(f"{name}: {contracts[0][name]} and {contracts[1][name]}")
    return problems


def _tensors(a: Network, b: Network, folded: set[str], report: Report) -> list[str]:
    problems, equal, close, largest = [], 0, 0, 0.0
    ours, theirs = (
        [tensor for tensor in network.tensors() if not tensor.ours.startswith("opt/")]
        for network in (a, b)
    )
    known = {tensor.theirs: tensor for tensor in theirs}
    for tensor in ours:
        other = known.pop(tensor.theirs, None)
        if other is None or other.shape != tensor.shape:
            what = "missing" if other is None else f"of shape {other.shape}"
            problems.append(f"{tensor.theirs}: {tensor.shape} and {what}")
            report.add(tensor.theirs, tensor.theirs, what, tensor)
            continue
        x, y = a.read(tensor.theirs), b.read(tensor.theirs)
        if identical(x, y):
            equal += 1
            report.add(tensor.theirs, tensor.theirs, "equal", tensor)
            continue
        difference = comparison.difference(x.astype(np.float64), y.astype(np.float64))
        largest = max(largest, difference)
        text = f"differs by {difference:.1e} of its size"
        report.add(tensor.theirs, tensor.theirs, text, tensor)
        if tensor.theirs in folded and difference <= FOLDED_TOLERANCE:
            close += 1
        else:
            problems.append(f"{tensor.theirs}: {text}")
    problems += [f"{name}: missing and {tensor.shape}" for name, tensor in known.items()]
    report.facts["compared"] = {
        "equal": equal,
        "folded": close,
        "largest_difference": largest,
        "allowed": FOLDED_TOLERANCE if folded else 0.0,
    }
    return problems


def _training(a: Network, b: Network, report: Report) -> list[str]:
    one, two = a.training(), b.training()
    begun = [t is not None and bool(t.step or t.moments) for t in (one, two)]
    if one is None or two is None or begun[0] != begun[1]:
        report.facts["training"] = "not in both"
        return []
    problems = []
    fields = {field.name for field in dataclasses.fields(one)} - {"moments"}
    for name in sorted(fields):
        if getattr(one, name) != getattr(two, name):
            problems.append(f"training: {name} {getattr(one, name)} and {getattr(two, name)}")
    names = {rule.path: rule.key for rule in a.rules}
    for field in {**one.moments, **two.moments}:
        ours, theirs = one.moments.get(field, {}), two.moments.get(field, {})
        problems += [
            f"training: {field} of {names[path]} differs"
            for path in {**ours, **theirs}
            if path not in ours or path not in theirs or not identical(ours[path], theirs[path])
        ]
    report.facts["training"] = "differs" if problems else "equal"
    return problems


def _outputs(a: Network, b: Network, report: Report) -> list[str]:
    x = comparison.windows(a.experiment)
    outputs = {}
    for name, network in (("a", a), ("b", b)):
        arrays = comparison.state(network)
        outputs[f"{name} in JAX"] = comparison.in_jax(network.experiment, arrays, x)
        del arrays
        if comparison.has_torch():
            outputs[f"{name} in PyTorch"] = comparison.in_torch(network, x)
    (reference, expected), *others = outputs.items()
    allowed, problems = comparison.tolerance(a.experiment), []
    found = {f"{reference} - {name}": comparison.difference(expected, y) for name, y in others}
    for name, difference in found.items():
        if difference > allowed:
            problems.append(f"outputs {name}: {difference:.1e} of their size")
    report.facts["outputs"] = {**found, "allowed": allowed, "windows": list(x.shape)}
    return problems
