"""Command line: `python -m seismollm_jax.pod --config=... --topology=v5e:4x4`."""

import signal
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from seismollm_jax import command_line
from seismollm_jax.pod import chips, run

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, and protocol after a colon.")
TOPOLOGY = flags.DEFINE_string(
    "topology",
    None,
    f"Family of chips and how many along each axis, such as v5e:4x8; {', '.join(chips.CHIPS)}.",
)
BATCH = flags.DEFINE_integer("batch_per_chip", 64, "Windows on each chip.")
JSON = flags.DEFINE_string("json", None, "File for the report as JSON.")
TABLE = flags.DEFINE_bool(
    "table", False, "Compile nothing; print the JSON reports given as arguments as one table."
)
CACHE = flags.DEFINE_string(
    "cache", None, "Folder of earlier figures (default: pod in the cache of this package)."
)


def main(argv: list[str]) -> None:
    """Compiles and reports."""
    # The compiler would have to end first, minutes later, before Python hears of Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if TABLE.value:
        if len(argv) < 2:
            raise app.UsageError("--table needs the JSON files of reports")
        print(run.table(argv[1:]))
        return
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    if CONFIG.value is None or TOPOLOGY.value is None:
        raise app.UsageError("--config and --topology are needed")
    run.run(
        CONFIG.value.to_dict(),
        TOPOLOGY.value,
        BATCH.value,
        json_file=JSON.value,
        cache=Path(CACHE.value) if CACHE.value else None,
    )


if __name__ == "__main__":
    command_line.run(main)
