"""Picks continuous records: python predict.py --checkpoint=DIR --input=FILE --output=picks.csv."""

import itertools
from pathlib import Path

import pandas as pd
from absl import app, flags

import seismollm_jax as sj
from seismollm_jax import command_line
from seismollm_jax.data import catalogue
from seismollm_jax.inference import figures, picks, streams

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Working directory or checkpoint.", required=True
)
INPUT = flags.DEFINE_multi_string(
    "input",
    None,
    "Waveform file or pattern, in any format ObsPy reads; may be repeated.",
    required=True,
)
OUTPUT = flags.DEFINE_string("output", "picks.csv", "Table to write.")
PLOT = flags.DEFINE_string("plot", None, "Picture of each record with its picks, FILE.png.")
OVERLAP = flags.DEFINE_float("overlap", 0.5, "Of neighbouring windows, a share below 1.", 0, 0.95)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Windows in a pass.", 1)
P_THRESHOLD = flags.DEFINE_float("p_threshold", None, "Instead of the checkpoint's.", 0, 1)
S_THRESHOLD = flags.DEFINE_float("s_threshold", None, "Instead of the checkpoint's.", 0, 1)


def main(argv: list[str]) -> None:
    """Reads, predicts, writes the table and says what was read and what was left out."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}; quote patterns after --input")
    predictor = sj.load(CHECKPOINT.value, batch_size=BATCH_SIZE.value)
    task = predictor.experiment.task
    print(f"{predictor.path}: {task.name}, {predictor.sampling_rate_hz:g} Hz")
    _check(predictor)
    for line in catalogue.lacking_labels(predictor.description.get("labelled") or {}):
        print(line)
    report = streams.Report()
    stream = streams.read(INPUT.value, report)
    segments, report = streams.segments(stream, predictor.sampling_rate_hz, report=report)
    output = Path(OUTPUT.value)
    output.parent.mkdir(parents=True, exist_ok=True)
    if task.output.per_sample:
        count = picks.write_csv(_pick(predictor, segments), output)
        print(f"{count} picks in {output}")
    else:
        tables = [predictor.windows(segment, overlap=OVERLAP.value) for segment in segments]
        if not tables:
            raise ValueError(f"nothing in the input can be analysed.\n{report}")
        table = pd.concat(tables, ignore_index=True)
        table.to_csv(output, index=False)
        print(f"{len(table)} windows in {output}")
    print(report)


def _check(predictor: sj.Predictor) -> None:
    """Refuses flags that would do nothing and warns of windows unlike the training's."""
    task, contract = predictor.experiment.task, predictor.description["contract"]
    for flag in (PLOT, P_THRESHOLD, S_THRESHOLD):
        if flag.value is not None and not task.output.per_sample:
            raise ValueError(f"--{flag.name} is for picking; this network is for {task.name}")
    position = contract["p_position_ratio"]
    if position is not None:
        print(
            f"note: this network was trained on windows with P at {100 * position:.0f} % of their "
            f"{predictor.window} samples; its answers for windows placed otherwise mean little"
        )


def _pick(predictor: sj.Predictor, segments: list[streams.Segment]):
    counter = itertools.count(1)
    for segment, curves in predictor.curves(segments, overlap=OVERLAP.value):
        found = predictor.picks(segment, curves, P=P_THRESHOLD.value, S=S_THRESHOLD.value)
        if PLOT.value:
            path, number = Path(PLOT.value), next(counter)
            if number > 1:  # the first picture has the name asked for, the others a number
                path = path.with_stem(f"{path.stem}-{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            figures.plot_record(segment, curves, found, path)
            print(f"picture in {path}")
        yield from found


if __name__ == "__main__":
    command_line.run(main)
