"""Trains one task: python train.py --config=configs/picking.py:builtin --workdir=runs/picking."""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from seismollm_jax import command_line
from seismollm_jax.training import loop

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, and protocol after a colon.")
WORKDIR = flags.DEFINE_string("workdir", None, "Checkpoints and logs go here.", required=True)
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Say what would be trained and what memory it needs, and end; or --dry-run."
)
PROFILE = flags.DEFINE_integer(
    "profile", 0, "Trace so many steps into WORKDIR/profile.", lower_bound=0
)
flags.DEFINE_alias("dry-run", "dry_run")
flags.mark_flag_as_required("config")
command_line.define_cluster_flags()


def main(argv: list[str]) -> None:
    """Runs the training that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    command_line.start_cluster()
    loop.run(
        CONFIG.value.to_dict(),
        Path(WORKDIR.value),
        dry_run=DRY_RUN.value,
        profile_steps=PROFILE.value,
    )


if __name__ == "__main__":
    command_line.run(main)
