"""Converts weights: python convert_weights.py gpt2 --source=SRC --output=DIR."""

from pathlib import Path

from absl import app, flags

from seismollm_jax import command_line
from seismollm_jax.models.seismollm import pretrained

SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Hugging Face GPT-2: a local directory, or a hub name such as gpt2-medium.",
    required=True,
)
OUTPUT = flags.DEFINE_string("output", None, "Directory to write; must not exist.", required=True)


def gpt2() -> None:
    """Writes a GPT-2 as Flax arrays, for `--config.backbone.weights=DIR`."""
    description = pretrained.convert(SOURCE.value, Path(OUTPUT.value))
    print(
        f"{description['parameters']:,} parameters in {description['arrays']} arrays written to "
        f"{OUTPUT.value}\nsha256 {description['sha256']}\nuse it with "
        f"--config.backbone.weights={OUTPUT.value}"
    )


COMMANDS = {"gpt2": gpt2}


def main(argv: list[str]) -> None:
    """Runs the command that the first word names."""
    if len(argv) != 2 or argv[1] not in COMMANDS:
        raise app.UsageError(f"give one command out of {', '.join(COMMANDS)}, got {argv[1:]}")
    COMMANDS[argv[1]]()


if __name__ == "__main__":
    command_line.run(main)
