"""The commands of convert_weights.py: their flags, and what they print."""

import argparse
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from seismollm_jax import tasks
from seismollm_jax.conversion import adapters, from_torch, inspect, to_torch, verify
from seismollm_jax.conversion.foreign import ConfigFor, Given
from seismollm_jax.conversion.originals import ORIGINALS
from seismollm_jax.conversion.report import Report
from seismollm_jax.conversion.wording import continuing, described, flat, verified
from seismollm_jax.models.seismollm import pretrained
from seismollm_jax.training import backbone

# -- commands ------------------------------------------------------------------------------------


def run_gpt2(args: argparse.Namespace, report: Report) -> None:
    """Writes a GPT-2 as Flax arrays, for `--config.backbone.weights=DIR`."""
    description = pretrained.convert(args.source, Path(args.output))
    report.facts |= description
    print(
        f"{description['parameters']:,} parameters in {description['arrays']} arrays written to "
        f"{args.output}\nsha256 {description['sha256']}\nuse it with "
        f"--config.backbone.weights={args.output}"
    )


def run_from_torch(args: argparse.Namespace, report: Report) -> None:
    """Writes a checkpoint directory from a PyTorch or safetensors file."""
    from_torch.convert(
        args.source,
        args.output,
        given=given(args),
        config_for=args.config_for,
        report=report,
        dry_run=args.dry_run,
    )
    if args.dry_run:
        print(report.table())
    facts = report.facts
    print(f"{args.source}: {facts['task']}, {described(facts)}")
    if facts["assumed"]:
        print("assumed, since the file does not say it and no flag did:")
        for name, value in sorted(facts["assumed"].items()):
            print(f"  {name} = {value}")
    if (reason := facts["ignored"].get("optimizer_dict")) is not None:
        print(f"note: its optimiser is left out, since {reason}")
    if args.dry_run:
        return
    print(verified(facts["verification"]))
    if "changed" in facts:
        print(f"note: {facts['changed']}; its split and scores were dropped")
    progress = facts["progress"]
    print(
        f"written to {args.output}, step {progress['step']}, "
        + ("with" if facts["training"] else "without")
        + " optimiser and schedule"
    )
    afresh = "" if facts["training"] else ", with a fresh optimiser"
    print(f"to continue the training{afresh}, on the data that it was trained on:")
    print(f"  {continuing(facts, args.output, args.config_for)}")


def run_to_torch(args: argparse.Namespace, report: Report) -> None:
    """Writes a file that the PyTorch original reads, its GPT-2 alone, or both."""
    if args.output is None and args.gpt2_output is None:
        raise ValueError("give --output, --gpt2-output or both")
    to_torch.convert(
        args.checkpoint,
        output=args.output,
        gpt2_output=args.gpt2_output,
        config_for=args.config_for,
        report=report,
        file_format=args.format,
        weights_only=args.weights_only,
        merge_lora=args.merge_lora,
        dry_run=args.dry_run,
    )
    if args.dry_run:
        print(report.table())
    facts = report.facts
    print(f"{facts['source']}: {facts['task']}, {described(facts)}")
    if args.dry_run:
        return
    print(verified(facts["verification"]))
    if "output" in facts:
        what = "training file" if facts["training"] else "state dict"
        print(f"{what} written to {facts['output']}")
        arguments = ", ".join(f"{k}={v}" for k, v in facts["constructor"].items())
        print(f"to build the network in the original: {arguments}")
        if not facts["original_loads_it"]:
            print(f"the original itself cannot use it: {facts['why_not']}")
    if "gpt2_output" in facts:
        print(f"GPT-2 written to {facts['gpt2_output']}")


def run_adapters(args: argparse.Namespace, report: Report) -> None:
    """Writes a checkpoint without what the pretrained backbone gives anyway."""
    adapters.write(args.checkpoint, args.output, source=args.backbone, report=report)
    facts = report.facts
    print(
        f"{facts['source']}: {facts['task']}\nwritten to {facts['output']}, without optimiser: "
        f"{facts['numbers']:,} numbers, {facts['bytes'] / 1e6:.1f} MB"
    )
    if (left_out := facts["backbone"]) is None:
        print("nothing of this network is frozen, so nothing else was left out")
        return
    print(
        f"left out: {left_out['numbers']:,} numbers in {left_out['arrays']} frozen arrays, equal "
        f"bit for bit to those of {left_out['source']!r}\nsha256 {left_out['sha256']}\n"
        f"where that backbone lies elsewhere, {backbone.VARIABLE}=FOLDER says so"
    )


def run_inspect(args: argparse.Namespace, report: Report) -> None:
    """Prints what a file or directory holds."""
    inspect.inspect(args.source, report)
    print(report.table())
    print()
    facts = flat(report.facts)
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def run_verify(args: argparse.Namespace, report: Report) -> None:
    """Compares two networks in any two formats."""
    verify.verify(args.a, args.b, given=given(args), config_for=args.config_for, report=report)
    facts = report.facts
    tensors, outputs = facts["compared"], dict(facts["outputs"])
    print(f"{args.a} and {args.b} are the same network ({facts['task']}):")
    line = f"  tensors: {tensors['equal']} equal bit for bit"
    if tensors["allowed"]:  # adapters were folded on one side
        line += (
            f", {tensors['folded']} with adapters folded in: largest difference "
            f"{tensors['largest_difference']:.1e} of their size (allowed {tensors['allowed']:.0e})"
        )
    print(line)
    print(f"  optimiser and schedule: {facts.get('training', 'not compared')}")
    allowed = outputs.pop("allowed")
    for name, value in outputs.items():
        if name != "windows":
            print(f"  outputs, {name}: {value:.1e} of their size (allowed {allowed:.0e})")


# -- the command line ----------------------------------------------------------------------------


def given(args: argparse.Namespace) -> Given:
    """What the command line tells about a foreign file."""
    fields = {field.name for field in dataclasses.fields(Given)}
    values = {name: value for name, value in vars(args).items() if name in fields}
    if args.gpt2 is not None:
        source = Path(args.gpt2)
        values["gpt2"] = pretrained.read_config(str(source.parent if source.is_file() else source))
    return Given(**values)


def parser() -> argparse.ArgumentParser:
    """All commands with their flags."""
    top = argparse.ArgumentParser(description="Weights from and to other programs.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace, Report], None]) -> Any:
        text = run.__doc__
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run, command=name)
        sub.add_argument(
            "--report", type=a_path, metavar="FILE.json", help="write all of it as JSON"
        )
        return sub

    sub = command("gpt2", run_gpt2)
    sub.add_argument("--source", required=True, help="Hugging Face GPT-2: directory or hub name")
    sub.add_argument("--output", required=True, help="directory to write; must not exist")

    sub = command("from-torch", run_from_torch)
    sub.add_argument("--source", type=a_path, required=True, help=".pth, .pt or .safetensors")
    sub.add_argument("--output", type=a_path, required=True, help="directory; must not exist")
    sub.add_argument("--dry-run", action="store_true", help="print every tensor, write nothing")
    add_given(sub)

    sub = command("to-torch", run_to_torch)
    add_checkpoint(sub)
    sub.add_argument("--output", type=a_path, help="file to write; must not exist")
    sub.add_argument(
        "--format", choices=to_torch.FORMATS, help="default: what the name of --output says, or pth"
    )
    sub.add_argument(
        "--weights-only", action="store_true", help="the state dict, no optimiser and schedule"
    )
    sub.add_argument(
        "--merge-lora", action="store_true", help="fold the adapters into plain GPT-2 layers"
    )
    sub.add_argument(
        "--gpt2-output", type=a_path, metavar="DIR", help="the tuned GPT-2, for transformers"
    )
    sub.add_argument("--dry-run", action="store_true", help="print every tensor, write nothing")

    sub = command("adapters", run_adapters)
    add_checkpoint(sub)
    sub.add_argument("--output", type=a_path, required=True, help="directory; must not exist")
    sub.add_argument(
        "--backbone", metavar="NAME", help="hub name or directory; default: the one of its training"
    )

    sub = command("inspect", run_inspect)
    sub.add_argument(
        "--source", type=a_path, required=True, help="any file or directory of weights"
    )

    sub = command("verify", run_verify)
    sub.add_argument("a", type=a_path, metavar="A", help="any file or checkpoint directory")
    sub.add_argument("b", type=a_path, metavar="B", help="another")
    add_given(sub)
    return top


def add_checkpoint(sub: argparse.ArgumentParser) -> None:
    """The flag for a checkpoint of this project."""
    text = "working or checkpoint directory"
    sub.add_argument("--checkpoint", type=a_path, required=True, help=text)


def add_given(sub: argparse.ArgumentParser) -> None:
    """The flags for what files of the original do not say."""
    names = [name for task in tasks.TASKS for name in (task, tasks.get(task).short_name)]
    add = sub.add_argument_group("what the file does not say").add_argument
    add("--task", choices=names, help="where two tasks look the same")
    add("--gpt2", metavar="DIR", help="GPT-2 of the backbone; its config.json is enough")
    add(
        "--sampling-rate",
        dest="sampling_rate_hz",
        type=float,
        metavar="HZ",
        help=default("sampling_rate_hz"),
    )
    add("--window", type=int, metavar="SAMPLES", help=default("window"))
    add("--normalisation", choices=("std", "max", "none"), help=default("normalisation"))
    add("--strides", type=numbers, metavar="S,S,...", help=default("strides"))
    add("--lora-alpha", type=float, help=default("lora_alpha"))
    add("--lora-dropout", type=float, help=default("lora_dropout"))
    add("--tuning", choices=("full", "frozen"), help="of a backbone without adapters")
    add("--optimizer", choices=("adam", "adamw"), help="older files do not tell them apart")
    add("--weights-only", action="store_true", help="leave optimiser and schedule out")
    add("--lossy-casts", action="store_true", help="round float64 to float32")


def default(name: str) -> str:
    """Help text of a flag with a default."""
    texts = []
    for original in ORIGINALS:
        if name in original.defaults:
            value = original.defaults[name]
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            texts.append(f"{text} ({original.title})")
    return f"default {', '.join(texts)}"


def a_path(text: str) -> Path:
    """A path, with the home directory for a tilde."""
    return Path(text).expanduser()


def numbers(text: str) -> tuple[int, ...]:
    """Integers with commas between."""
    return tuple(map(int, text.split(",")))


def main(config_for: ConfigFor) -> None:
    """Runs the command of the command line; --report writes down whatever became of it.

    Args:
        config_for: task name -> its published experiment, as plain dictionaries.
    """
    args = parser().parse_args()
    args.config_for = config_for
    if "JAX_PLATFORMS" not in os.environ:  # no accelerator is needed, or should be held
        jax.config.update("jax_platforms", "cpu")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
    _check_report(args)
    report = Report(args.command)
    try:
        args.run(args, report)
    except BaseException as error:
        report.problems = getattr(error, "problems", [str(error) or type(error).__name__])
        raise
    finally:
        if args.report:
            report.write(args.report)


def _check_report(args: argparse.Namespace) -> None:
    """Refuses a report that would take the place of something else."""
    if args.report is None:
        return
    report = args.report.resolve()
    names = ("source", "checkpoint", "output", "gpt2_output", "a", "b")
    others = [Path(getattr(args, name)).resolve() for name in names if getattr(args, name, None)]
    if report.is_dir() or any(other in (report, *report.parents) for other in others):
        raise ValueError(f"--report={args.report} is, or lies in, what is read or written here")
