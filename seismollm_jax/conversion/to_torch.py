"""A checkpoint of this project becomes a file that the PyTorch original reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.conversion import (
    comparison,
    safetensors_files,
    tensor_files,
    torch_files,
    training_state,
)
from seismollm_jax.conversion.folding import fold
from seismollm_jax.conversion.foreign import ConfigFor, Given
from seismollm_jax.conversion.network import Network, identical
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.conversion.report import ConversionError, Report
from seismollm_jax.conversion.tensor_files import TensorFile
from seismollm_jax.models.seismollm import pretrained
from seismollm_jax.models.seismollm.names import PLAIN_PREFIX, gpt2_rules
from seismollm_jax.training import saved
from seismollm_jax.training.provenance import provenance

FORMATS = ("pth", "safetensors")
"""File formats that can be written."""


def convert(
    directory: Path,
    *,
    config_for: ConfigFor,
    report: Report,
    output: Path | None = None,
    gpt2_output: Path | None = None,
    file_format: str | None = None,
    weights_only: bool = False,
    merge_lora: bool = False,
    dry_run: bool = False,
) -> None:
    """Writes a checkpoint as a training file or state dict of the original, or its GPT-2, or both.

    The file is read again and compared tensor by tensor, and its output in PyTorch, where that is
    installed, with the checkpoint's here; it only gets its name when all is well.

    Args:
        directory: a checkpoint or working directory (its best checkpoint).
        config_for: as for `opening.open_network`.
        report: gets tensors and facts.
        output: the file; must not exist.
        gpt2_output: directory for the backbone with its adapters folded in, in Hugging Face's
            layout; must not exist.
        file_format: one of `FORMATS`, None for what the name of `output` says; safetensors holds
            the state dict alone.
        weights_only: the state dict alone, without optimiser and schedule.
        merge_lora: fold the adapters into GPT-2's layers; the result is a state dict alone, and
            none that the original loads.
        dry_run: write nothing.

    Raises:
        ConversionError: outputs or tensors differ.
        CheckpointError: no checkpoint there, or a damaged one.
        FileExistsError: something is there already.
        ImportError: a .pth is wanted without PyTorch.
    """
    for path in (output, gpt2_output):
        if path is not None and path.exists() and not dry_run:
            raise FileExistsError(f"{path} exists; choose another name or remove it")
    if not directory.is_dir():
        raise saved.CheckpointError(f"{directory} is not a directory with a checkpoint")
    file_format = file_format or _format_of(output)
    needs_torch = output is not None and file_format == "pth" and not dry_run
    if needs_torch and not comparison.has_torch():
        raise ImportError(
            f"writing {output} needs the torch extra: pip install 'seismollm_jax[torch]' (or "
            "--format safetensors, for the weights alone)"
        )
    bare = weights_only or merge_lora or file_format == "safetensors"
    network = open_network(directory, Given(weights_only=bare), config_for)
    original = network.original
    if not original.gpt2 and (gpt2_output is not None or merge_lora):
        raise ConversionError(directory, [f"a {original.title}, which has no GPT-2 or adapters"])
    bare = bare or network.training() is None  # a checkpoint may have no optimiser
    written = fold(network) if merge_lora else network
    _fill(report, written)
    if dry_run:
        return
    arrays = comparison.state(network)
    verification = comparison.verified(written, network.experiment, arrays)
    report.facts["verification"] = verification
    comparison.require(verification, directory)
    if output is not None:
        notes = {
            "description": written.description,
            "conversion": {
                "source": f"{network.path.parent.parent.name}/checkpoints/{network.path.name}",
                "sha256": pretrained.sha256(
                    {rule.path: rule.convert(network.read(rule.key)) for rule in network.rules}
                ),
                "rules": network.original.version,
                "merged": merge_lora,
                "verification": verification,
                "provenance": provenance(),
                "earlier": network.description.get("conversion"),
            },
        }
        _write(written, output, file_format, notes, bare=bare)
        report.facts["output"] = str(output)
    if gpt2_output is not None:
        _write_gpt2(fold(network), gpt2_output)
        report.facts["gpt2_output"] = str(gpt2_output)


def _format_of(output: Path | None) -> str:
    """The format that a file's name promises."""
    return "safetensors" if output and output.suffix == ".safetensors" else "pth"


def _fill(report: Report, network: Network) -> None:
    experiment, original = network.experiment, network.original
    report.facts |= {
        "source": str(network.path),
        "family": experiment.family.name,
        "constructor": original.constructor(experiment.settings, experiment.task.short_name),
        "original_loads_it": not original.loads(experiment.settings),
        "why_not": original.loads(experiment.settings),
        "task": network.experiment.task.name,
        "settings": network.experiment.settings,
        "training": network.training() is not None,
    }
    for tensor in network.tensors():
        report.add(tensor.ours, tensor.theirs, tensor.transform, tensor)


def _write(
    network: Network, output: Path, file_format: str, notes: dict[str, Any], *, bare: bool
) -> None:
    values = {e.key: np.asarray(network.read(e.key), order="C") for e in network.table}
    with atomic_files.whole(output) as temporary:
        if file_format == "safetensors":
            safetensors_files.write(temporary, values, notes)
        elif bare:
            torch_files.write(temporary, values)
        else:
            training = network.training()
            assert training is not None  # it is only left out of bare files
            rest = training_state.write(training, network.table, network.experiment.is_trainable)
            content = {"epoch": rest.pop("epoch"), "model_dict": values, **rest}
            torch_files.write(temporary, {**content, torch_files.NOTES: json.dumps(notes)})
        again = _read_back(temporary, values, output)
        if not bare and not _same_state(again.training, rest):
            raise ConversionError(output, ["the optimiser was not written as it is; disk failing?"])


def _read_back(temporary: Path, values: dict[str, np.ndarray], output: Path) -> TensorFile:
    """Opens a file that was just written and compares it bit for bit."""
    again = tensor_files.open_file(temporary)
    tensor_files.check(again)
    if again.tensors.keys() != values.keys():
        raise ConversionError(output, ["other tensors were written; disk failing?"])
    for key, value in values.items():
        if not identical(again.tensors[key].read(), value):
            raise ConversionError(output, [f"{key} was not written as it is; disk failing?"])
    return again


def _same_state(found: Mapping[str, Any] | None, written: Mapping[str, Any]) -> bool:
    """Whether optimiser and schedule are as they were meant to be."""
    if found is None or found["scheduler_dict"] != written["scheduler_dict"]:
        return False
    ours, theirs = found["optimizer_dict"], written["optimizer_dict"]
    if ours["param_groups"] != theirs["param_groups"]:
        return False
    return ours["state"].keys() == theirs["state"].keys() and all(
        state.keys() == ours["state"][index].keys()
        and all(identical(ours["state"][index][name], value) for name, value in state.items())
        for index, state in theirs["state"].items()
    )


def _write_gpt2(network: Network, output: Path) -> None:
    """Writes the backbone of a network without adapters as a Hugging Face GPT-2 directory.

    It has the layers that the network kept, and a vocabulary of none.
    """
    config = network.config
    arrays = {
        rule.key: np.asarray(network.read(PLAIN_PREFIX + rule.key), order="C")
        for rule in gpt2_rules(range(config.layers))
    }
    fields = {
        "architectures": ["GPT2Model"],
        "model_type": "gpt2",
        "vocab_size": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "n_embd": config.gpt2.n_embd,
        "n_head": config.gpt2.n_head,
        "n_layer": config.layers,
        "n_positions": config.gpt2.n_positions,
        "n_inner": config.gpt2.n_inner,
        "layer_norm_epsilon": config.gpt2.layer_norm_epsilon,
        "activation_function": config.gpt2.activation_function,
        "embd_pdrop": config.gpt2.embd_pdrop,
        "attn_pdrop": config.gpt2.attn_pdrop,
        "resid_pdrop": config.gpt2.resid_pdrop,
        "torch_dtype": "float32",
    }
    with atomic_files.whole(output) as temporary:
        temporary.mkdir()
        (temporary / "config.json").write_text(json.dumps(fields, indent=1) + "\n")
        arrays |= {"wte.weight": np.zeros((0, config.gpt2.n_embd), np.float32)}
        safetensors_files.write(temporary / "model.safetensors", arrays, {})
        _read_back(temporary / "model.safetensors", arrays, output)
