"""Evaluates a checkpoint: python eval.py --checkpoint=DIR --output=OUT [--split=test]."""

from pathlib import Path

from absl import app, flags

from seismollm_jax import command_line
from seismollm_jax.evaluation import run

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Working directory or checkpoint.", required=True
)
SPLIT = flags.DEFINE_enum("split", "test", ["train", "val", "test", "all"], "Part of the data.")
DATA = flags.DEFINE_string("data", None, "Directory of the dataset, if it has moved.")
SPLIT_FILE = flags.DEFINE_string("split_file", None, "Which trace is in which part; see docs.")
ALLOW_OTHER_SPLIT = flags.DEFINE_bool(
    "allow_other_split", False, "Evaluate a part although training traces may be in it."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "metrics.json, tables of predictions and pictures go here.", required=True
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 0, "Over all devices; 0 takes the training's.", 0)
OPERATING_POINT, P_THRESHOLD, S_THRESHOLD = command_line.define_threshold_flags()
CHOOSE_THRESHOLDS = flags.DEFINE_bool(
    "choose_thresholds",
    False,
    "With --split=val: choose operating points and store them in the checkpoint.",
)
REPORT = flags.DEFINE_bool("report", False, "Write report.html, everything on one page, too.")
command_line.define_cluster_flags()


def main(argv: list[str]) -> None:
    """Evaluates as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    command_line.start_cluster()
    run.run(
        CHECKPOINT.value,
        Path(OUTPUT.value),
        part=SPLIT.value,
        data_path=DATA.value,
        split_file=SPLIT_FILE.value,
        allow_other_split=ALLOW_OTHER_SPLIT.value,
        batch_size=BATCH_SIZE.value or None,
        operating_point=OPERATING_POINT.value,
        given={"p": P_THRESHOLD.value, "s": S_THRESHOLD.value},
        choose_thresholds=CHOOSE_THRESHOLDS.value,
        make_report=REPORT.value,
    )


if __name__ == "__main__":
    command_line.run(main)
