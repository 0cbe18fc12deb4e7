"""Picks continuous records: python predict.py --checkpoint=DIR --input=FILE --output=picks.csv.

With --picking=DIR --magnitude=DIR and so on, instead of --checkpoint, it writes events: picks in
pairs, and what the other networks say at each P. With a folder as --output it does so with archives
of any size, station-day by station-day.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
from absl import app, flags
from obspy import Stream

import seismollm_jax as sj
from seismollm_jax import command_line
from seismollm_jax.data import catalogue
from seismollm_jax.inference import options as settings
from seismollm_jax.inference import stations, streams
from seismollm_jax.inference.archive import run as archive
from seismollm_jax.inference.archive.days import Selection, patterns, time_ns
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.detections import DetectionList, detects, merged_detections
from seismollm_jax.inference.events.answers import KINDS, P_POSITION, position
from seismollm_jax.inference.events.predictor import EventPredictor, load_events
from seismollm_jax.inference.events.table import EventTable
from seismollm_jax.inference.picks import PickList, merged
from seismollm_jax.inference.pictures import records as record_pictures
from seismollm_jax.inference.pictures.table import TablePictures
from seismollm_jax.tasks import thresholds

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Working directory or checkpoint of one network, of any task."
)
PICKING = flags.DEFINE_string(
    "picking", None, "Events, instead of --checkpoint: a network for picking."
)
ANSWERS = {
    "polarity": flags.DEFINE_string("polarity", None, "Events: a network for first motions too."),
    "magnitude": flags.DEFINE_string("magnitude", None, "Events: one for magnitudes."),
    "distance": flags.DEFINE_string("distance", None, "Events: one for distances."),
    "back_azimuth": flags.DEFINE_string("back_azimuth", None, "Events: one for back-azimuths."),
}
P_POSITION_FLAG = flags.DEFINE_float(
    "p_position",
    P_POSITION,
    "Events: share of the window ahead of P, for networks that were trained on drawn windows.",
    0,
    0.99,
)
INPUT = flags.DEFINE_multi_string(
    "input",
    None,
    "Waveform file or pattern, in any format ObsPy reads; may be repeated.",
    required=True,
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Table to write, NAME.csv (picks.csv; events.csv, and then all picks in NAME_picks.csv); or a "
    "folder, for archives (see the docs).",
)
PLOT = flags.DEFINE_string(
    "plot",
    None,
    "Picking: 'event' or 'hour' for pictures of each; of a single table also FILE.png, for one of "
    "each record.",
)
OVERLAP = flags.DEFINE_float(
    "overlap", None, "Of windows: 0.5, but picking in more than a minute 0.9.", 0, 0.95
)
STACKING = flags.DEFINE_enum(
    "stacking", None, ["avg", "max"], "Picking: of windows: avg, but of more than a minute max."
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Windows in a pass.", 1)
OPERATING_POINT, P_THRESHOLD, S_THRESHOLD = command_line.define_threshold_flags()
DETECTION_THRESHOLD = flags.DEFINE_float(
    "detection_threshold", None, "Networks that detect events: instead of the checkpoint's.", 0, 1
)
INVENTORY = flags.DEFINE_string(
    "inventory", None, "StationXML or the like: turns components; events get epicentres."
)
REPORT = command_line.define_optional_file_flag(
    "report",
    "Picking: pages of HTML with overviews of days and their events, in the folder report of an "
    "archive; of a single table in FILE.html, by default beside it.",
)

ARCHIVE_ONLY = {
    "start": flags.DEFINE_string("start", None, "Archives: earliest time, such as 2024-01-31."),
    "end": flags.DEFINE_string("end", None, "Archives: end, exclusive."),
    "station": flags.DEFINE_string("station", None, "Archives: 'NET.STA' or 'STA', '*', commas."),
    "channel": flags.DEFINE_string("channel", None, "Archives: patterns such as 'HH?,EH?'."),
    "shard": flags.DEFINE_string("shard", None, "Archives: do part I of N, 0/N to N-1/N."),
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
    predictor = _load()
    events = predictor if isinstance(predictor, EventPredictor) else None
    networks = [events.picking, *events.answers.values()] if events else [predictor]
    for network in networks:
        _introduce(network, events)
    options = _options(networks[0])
    if job is not None:
        print(archive.run(predictor, dataclasses.replace(job, options=options)))
        return
    coverage = Coverage()
    stream = streams.read(INPUT.value, coverage)
    output = _output()
    output.parent.mkdir(parents=True, exist_ok=True)
    if INVENTORY.value is not None:
        options["inventory"] = stations.read(INVENTORY.value)
    if events:
        _write_events(events, stream, output, coverage, options)
    else:
        _write_answers(predictor, stream, output, coverage, options)
    print(coverage)


def _write_events(
    events: EventPredictor,
    stream: Stream,
    output: Path,
    coverage: Coverage,
    options: dict[str, Any],
) -> None:
    """Table of events, and of all picks and detections beside it."""
    records, _ = events.segments(stream, coverage=coverage, **options)
    segments = records[events.picking.sampling_rate_hz]
    pictures = _pictures(events, output, options)
    picks, detections = _pick(events.picking, segments, options, pictures)
    picks = merged([picks])
    table = EventTable(events.name, events.events(records, picks, **options), picks, coverage)
    table.write_csv(output)
    beside = output.with_stem(f"{output.stem}_picks")
    print(f"{picks.write_csv(str(beside))} picks in {beside}")
    _write_detections(events.picking, detections, output)
    print(f"{table}\nin {output}")
    for text in pictures.finish(coverage, picks, table.events):
        print(text)


def _write_answers(
    predictor: sj.Predictor,
    stream: Stream,
    output: Path,
    coverage: Coverage,
    options: dict[str, Any],
) -> None:
    """Table of picks, or of what another task says of window after window."""
    segments, _ = predictor.segments(stream, coverage=coverage, **options)
    if predictor.experiment.task.output.per_sample:
        pictures = _pictures(predictor, output, options)
        found, detections = _pick(predictor, segments, options, pictures)
        print(f"{found.write_csv(str(output))} picks in {output}")
        _write_detections(predictor, detections, output)
        for text in pictures.finish(coverage, found):
            print(text)
        return
    overlap = options.get("overlap", 0.5)
    tables = [predictor.windows(segment, overlap=overlap) for segment in segments]
    if not tables:
        raise ValueError(f"nothing in the input can be analysed.\n{coverage}")
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(output, index=False)
    print(f"{len(table)} windows in {output}")


def _load() -> sj.Predictor | EventPredictor:
    """The network of --checkpoint, or those of --picking and so on."""
    given: dict[str, Any] = {
        name: flag.value for name, flag in ANSWERS.items() if flag.value is not None
    }
    common: dict[str, Any] = {
        "batch_size": BATCH_SIZE.value,
        "operating_point": OPERATING_POINT.value,
        "p_threshold": P_THRESHOLD.value,
        "s_threshold": S_THRESHOLD.value,
    }
    if CHECKPOINT.value is not None:
        if also := [PICKING.name] * (PICKING.value is not None) + list(given):
            raise ValueError(
                f"--{CHECKPOINT.name} is for one network and --{also[0]} for events: give one or "
                "the other"
            )
        return sj.load(CHECKPOINT.value, **common)
    if PICKING.value is None:
        raise ValueError(
            f"give --{CHECKPOINT.name} with a trained network, or --{PICKING.name} and any of "
            f"{', '.join(f'--{name}' for name in KINDS)} for events, which begin with picks"
        )
    return load_events(PICKING.value, p_position=P_POSITION_FLAG.value, **given, **common)


def _introduce(predictor: sj.Predictor, events: EventPredictor | None) -> None:
    """Says which network is used, and how."""
    task = predictor.experiment.task
    line = f"{predictor.path}: {task.name}, {predictor.sampling_rate_hz:g} Hz"
    if events and not task.output.per_sample:
        share = position(predictor, events.p_position)
        drawn = predictor.description["contract"]["p_position_ratio"] is None
        line += (
            f", windows of {predictor.window} samples with P at {100 * share:g} %"
            f"{' (it was trained on drawn windows)' if drawn else ''}"
        )
    print(line)
    if not events:
        _check(predictor)
    if predictor.thresholds:
        print(thresholds.line(predictor.thresholds))
    for text in catalogue.lacking_labels(predictor.description.get("labelled") or {}):
        print(text)


def _options(predictor: sj.Predictor) -> dict[str, Any]:
    """How windows overlap, and when an event is in progress; picking says so."""
    asked = (OVERLAP, STACKING, DETECTION_THRESHOLD)
    given = {flag.name: flag.value for flag in asked if flag.value is not None}
    if DETECTION_THRESHOLD.name in given and not detects(predictor.experiment.task):
        raise ValueError(
            f"--{DETECTION_THRESHOLD.name}: {predictor.path} detects no events: leave it "
            "out, or give a picking network of the form detection, such as SeisT"
        )
    if not predictor.experiment.task.output.per_sample:
        return given
    used = settings.parse(given, predictor.window, predictor.sampling_rate_hz)
    length_s = predictor.window / predictor.sampling_rate_hz
    print(f"windows of {length_s:g} s, overlap {used.overlap:g}, stacking {used.stacking}")
    return given | {"overlap": used.overlap, "stacking": used.stacking}


def _job() -> archive.Job | None:
    """What to do with an archive; None for a single table."""
    given: dict[str, Any] = {
        name: flag.value for name, flag in ARCHIVE_ONLY.items() if flag.value is not None
    }
    if _output().suffix == ".csv":
        if given:
            raise ValueError(
                f"--{next(iter(given))} is for archives: give a folder as --output, without .csv"
            )
        return None
    if PLOT.value is not None and PLOT.value not in record_pictures.KINDS:
        raise ValueError(
            f"--{PLOT.name}={PLOT.value} is for single tables: give --output=NAME.csv, or "
            f"--{PLOT.name}={' or '.join(record_pictures.KINDS)}"
        )
    if REPORT.value not in ("", "true"):
        raise ValueError(
            f"--{REPORT.name}={REPORT.value} is for single tables; pages of archives have their "
            f"place: give --{REPORT.name} alone"
        )
    selection = Selection(
        stations=patterns(given.pop("station", "*")),
        channels=patterns(given.pop("channel", None)),
        start_ns=time_ns(given.pop("start", None), Selection.start_ns),
        end_ns=time_ns(given.pop("end", None), Selection.end_ns),
    )
    return archive.Job(
        inputs=tuple(INPUT.value),
        output=_output(),
        selection=selection,
        shard=archive.shard(given.pop("shard", None)),
        inventory=None if INVENTORY.value is None else Path(INVENTORY.value),
        plot=PLOT.value,
        report=bool(REPORT.value),
        **given,
    )


def _output() -> Path:
    return Path(OUTPUT.value or ("picks.csv" if PICKING.value is None else "events.csv"))


def _check(predictor: sj.Predictor) -> None:
    """Refuses flags that would do nothing and warns of windows unlike the training's."""
    task, contract = predictor.experiment.task, predictor.description["contract"]
    for flag in (PLOT, REPORT, STACKING):
        if flag.value and not task.output.per_sample:
            raise ValueError(f"--{flag.name} is for picking; this network is for {task.name}")
    position = contract["p_position_ratio"]
    if position is not None:
        print(
            f"note: this network was trained on windows with P at {100 * position:.0f} % of their "
            f"{predictor.window} samples; its answers for windows placed otherwise mean little"
        )


def _pictures(
    predictor: sj.Predictor | EventPredictor, output: Path, options: dict[str, Any]
) -> TablePictures:
    """What --plot and --report ask for."""
    report = output.with_suffix(".html") if REPORT.value == "true" else REPORT.value
    return TablePictures(
        predictor,
        output,
        plot=PLOT.value,
        report=Path(report) if report else None,
        options=options,
    )


def _pick(
    predictor: sj.Predictor,
    segments: list[streams.Segment],
    options: dict[str, Any],
    pictures: TablePictures,
) -> tuple[PickList, DetectionList]:
    """Picks and detections of all segments, in the order of the pieces, as they come."""
    picks, detections = PickList(), DetectionList()
    for segment, curves in predictor.curves(segments, **options):
        found = predictor.picks(segment, curves, **options)
        pictures.add(segment, curves, found)
        picks += found
        detections += predictor.detections(segment, curves, **options)
    return picks, detections


def _write_detections(predictor: sj.Predictor, detections: DetectionList, output: Path) -> None:
    """The table of detections beside another one, of networks that detect."""
    if detects(predictor.experiment.task):
        beside = output.with_stem(f"{output.stem}_detections")
        print(f"{merged_detections([detections]).write_csv(beside)} detections in {beside}")


if __name__ == "__main__":
    command_line.run(main)
