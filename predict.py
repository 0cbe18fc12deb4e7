"""Picks continuous records: python predict.py --checkpoint=DIR --input=FILE --output=picks.csv.

With a folder as --output it picks archives of any size, station-day by station-day.
"""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
from absl import app, flags

import seismollm_jax as sj
from seismollm_jax import command_line
from seismollm_jax.data import catalogue
from seismollm_jax.inference import archive, figures, pick_output, streams
from seismollm_jax.inference.archive_days import Selection, patterns, time_ns
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.tasks import thresholds

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Working directory or checkpoint.", required=True
)
INPUT = flags.DEFINE_multi_string(
    "input",
    None,
    "Waveform file or pattern, in any format ObsPy reads; may be repeated.",
    required=True,
)
OUTPUT = flags.DEFINE_string(
    "output", "picks.csv", "Table to write, NAME.csv; or a folder, for archives (see the docs)."
)
PLOT = flags.DEFINE_string("plot", None, "Picture of each record with its picks, FILE.png.")
OVERLAP = flags.DEFINE_float("overlap", 0.5, "Of neighbouring windows, a share below 1.", 0, 0.95)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Windows in a pass.", 1)
OPERATING_POINT = flags.DEFINE_enum(
    "operating_point",
    None,
    thresholds.CHOICES,
    "Picking: thresholds of the best F1 of the validation (the default where the checkpoint has "
    "them), of few false picks on noise, or of the configuration.",
)
P_THRESHOLD = flags.DEFINE_float("p_threshold", None, "Instead of the operating point's.", 0, 1)
S_THRESHOLD = flags.DEFINE_float("s_threshold", None, "Instead of the operating point's.", 0, 1)

ARCHIVE_ONLY = {
    "start": flags.DEFINE_string("start", None, "Archives: earliest time, such as 2024-01-31."),
    "end": flags.DEFINE_string("end", None, "Archives: end, exclusive."),
    "station": flags.DEFINE_string("station", None, "Archives: 'NET.STA' or 'STA', '*', commas."),
    "channel": flags.DEFINE_string("channel", None, "Archives: patterns such as 'HH?,EH?'."),
    "shard": flags.DEFINE_string("shard", None, "Archives: do part I of N, 0/N to N-1/N."),
    "inventory": flags.DEFINE_string("inventory", None, "Archives: StationXML or the like."),
    "parquet": flags.DEFINE_bool("parquet", None, "Archives: all picks as Parquet too."),
    "quakeml": flags.DEFINE_bool("quakeml", None, "Archives: QuakeML of each station-day too."),
    "pyocto": flags.DEFINE_bool("pyocto", None, "Archives: input of the associator PyOcto."),
    "gamma": flags.DEFINE_bool("gamma", None, "Archives: input of the associator GaMMA."),
    "readers": flags.DEFINE_integer("readers", None, "Archives: threads that read.", 1),
}
command_line.define_cluster_flags()


def main(argv: list[str]) -> None:
    """Reads, predicts, writes the table and says what was read and what was left out."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}; quote patterns after --input")
    command_line.start_cluster()
    job = _job()
    predictor = sj.load(
        CHECKPOINT.value,
        batch_size=BATCH_SIZE.value,
        operating_point=OPERATING_POINT.value,
        p_threshold=P_THRESHOLD.value,
        s_threshold=S_THRESHOLD.value,
    )
    task = predictor.experiment.task
    print(f"{predictor.path}: {task.name}, {predictor.sampling_rate_hz:g} Hz")
    _check(predictor)
    if predictor.thresholds:
        print(thresholds.line(predictor.thresholds))
    for line in catalogue.lacking_labels(predictor.description.get("labelled") or {}):
        print(line)
    if job is not None:
        print(archive.run(predictor, job))
        return
    coverage = Coverage()
    stream = streams.read(INPUT.value, coverage)
    segments, _ = predictor.segments(stream, coverage=coverage)
    output = Path(OUTPUT.value)
    output.parent.mkdir(parents=True, exist_ok=True)
    if task.output.per_sample:
        count = pick_output.write_csv(_pick(predictor, segments), output)
        print(f"{count} picks in {output}")
    else:
        tables = [predictor.windows(segment, overlap=OVERLAP.value) for segment in segments]
        if not tables:
            raise ValueError(f"nothing in the input can be analysed.\n{coverage}")
        table = pd.concat(tables, ignore_index=True)
        table.to_csv(output, index=False)
        print(f"{len(table)} windows in {output}")
    print(coverage)


def _job() -> archive.Job | None:
    """What to do with an archive; None for a single table."""
    given: dict[str, Any] = {
        name: flag.value for name, flag in ARCHIVE_ONLY.items() if flag.value is not None
    }
    if Path(OUTPUT.value).suffix == ".csv":
        if given:
            raise ValueError(
                f"--{next(iter(given))} is for archives: give a folder as --output, without .csv"
            )
        return None
    if PLOT.value is not None:
        raise ValueError(f"--{PLOT.name} is for single tables: give --output=NAME.csv")
    selection = Selection(
        stations=patterns(given.pop("station", "*")),
        channels=patterns(given.pop("channel", None)),
        start_ns=time_ns(given.pop("start", None), Selection.start_ns),
        end_ns=time_ns(given.pop("end", None), Selection.end_ns),
    )
    inventory = given.pop("inventory", None)
    return archive.Job(
        inputs=tuple(INPUT.value),
        output=Path(OUTPUT.value),
        selection=selection,
        shard=archive.shard(given.pop("shard", None)),
        options={"overlap": OVERLAP.value},
        inventory=None if inventory is None else Path(inventory),
        **given,
    )


def _check(predictor: sj.Predictor) -> None:
    """Refuses flags that would do nothing and warns of windows unlike the training's."""
    task, contract = predictor.experiment.task, predictor.description["contract"]
    if PLOT.value is not None and not task.output.per_sample:
        raise ValueError(f"--{PLOT.name} is for picking; this network is for {task.name}")
    position = contract["p_position_ratio"]
    if position is not None:
        print(
            f"note: this network was trained on windows with P at {100 * position:.0f} % of their "
            f"{predictor.window} samples; its answers for windows placed otherwise mean little"
        )


def _pick(predictor: sj.Predictor, segments: list[streams.Segment]):
    counter = itertools.count(1)
    for segment, curves in predictor.curves(segments, overlap=OVERLAP.value):
        found = predictor.picks(segment, curves)
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
