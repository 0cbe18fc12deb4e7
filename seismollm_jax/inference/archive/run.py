"""Picking an archive: station-days read, analysed and written side by side.

While the network works on a station-day, threads read and prepare the next ones and write the last
one. What is in memory is bounded by that, however long the archive is.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from seismollm_jax.inference import amplitudes, stations
from seismollm_jax.inference.archive import associators
from seismollm_jax.inference.archive import plan as plans
from seismollm_jax.inference.archive.days import Selection, StationDay
from seismollm_jax.inference.archive.folder import Answers, Folder
from seismollm_jax.inference.archive.pictures import Pictures, write_index
from seismollm_jax.inference.archive.plan import Plan
from seismollm_jax.inference.archive.progress import Progress
from seismollm_jax.inference.archive.reading import Prepared, Reader
from seismollm_jax.inference.archive.settings import describe
from seismollm_jax.inference.detections import DetectionList, detects, merged_detections
from seismollm_jax.inference.events.predictor import EventPredictor
from seismollm_jax.inference.events.table import EventTable, Tally
from seismollm_jax.inference.picks import PickList, merged
from seismollm_jax.inference.pictures import day_report, wanted
from seismollm_jax.inference.pictures.records import Sketches
from seismollm_jax.inference.predictor import Predictor
from seismollm_jax.inference.streams import Segment

UNWRITTEN = 2  # station-days that may wait for the disk


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What to do with an archive.

    Attributes:
        inputs: see :func:`seismollm_jax.inference.archive.plan.make`.
        output: folder, see :mod:`seismollm_jax.inference.archive.folder`. Where it holds part of
            the work already, the rest is done.
        selection: stations, channels and times that are wanted.
        shard: number of this process, from 0, and how many share the work. In a run of several
            processes of `jax.distributed` it is taken from there.
        options: of :meth:`Predictor.classify`, without `inventory`.
        inventory: file with station metadata, in a format that ObsPy reads.
        quakeml: write QuakeML beside the tables of each station-day.
        parquet: write all picks, and events, as Parquet too.
        pyocto: write input of the associator PyOcto.
        gamma: write input of the associator GaMMA.
        readers: threads that read and prepare.
        plot: pictures of each "event" or "hour".
        report: write a page of HTML on each station-day.
    """

    inputs: tuple[str, ...]
    output: Path
    selection: Selection = dataclasses.field(default_factory=Selection)
    shard: tuple[int, int] = (0, 1)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inventory: Path | None = None
    quakeml: bool = False
    parquet: bool = False
    pyocto: bool = False
    gamma: bool = False
    readers: int = 1
    plot: str | None = None
    report: bool = False


@dataclasses.dataclass
class Summary:
    """What a run did.

    Attributes:
        planned: station-days of this process.
        done: of them, done now; the others were finished before.
        picks: of all `planned`.
        events: of all `planned`.
        unreadable: file -> reason.
        seconds: that the run took.
        stages: seconds of reading, preparing, the network and writing, side by side.
        collected: table of all picks, None while other shards are at work.
        remarks: on pictures and amplitudes that are missing.
    """

    planned: int = 0
    done: int = 0
    picks: int = 0
    events: int = 0
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    stages: dict[str, float] = dataclasses.field(default_factory=dict)
    collected: Path | None = None
    remarks: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        rate = 60 * self.done / self.seconds if self.seconds else 0.0
        stages = ", ".join(f"{name} {value:.1f}" for name, value in self.stages.items())
        lines = [
            f"{self.planned} station-days, {self.planned - self.done} of them finished before; "
            f"{self.picks} picks{f', {self.events} events' if self.events else ''}; "
            f"{self.seconds:.1f} s, {rate:.1f} station-days a minute"
            + (f" (side by side: {stages} s)" if stages else "")
        ]
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} files could not be read and were left out:")
            lines += [f"- {file}: {why}" for file, why in list(self.unreadable.items())[:20]]
            if len(self.unreadable) > 20:
                lines.append("- ... (the manifest has them all)")
        lines += self.remarks[:20]
        if len(self.remarks) > 20:
            lines.append(f"and {len(self.remarks) - 20} more remarks (the manifest has them all)")
        return "\n".join(lines)


def shard(text: str | None) -> tuple[int, int]:
    """The number of a process and how many there are, from "0/4"; of `jax.distributed` if it runs.

    Raises:
        ValueError: another text, or one beside several processes of JAX.
    """
    if not text:
        return jax.process_index(), jax.process_count()
    if jax.process_count() > 1:
        raise ValueError(
            "the processes of this run share the work by themselves; leave out --shard"
        )
    index, slash, count = text.partition("/")
    if not slash or not (index.isdecimal() and count.isdecimal()) or int(index) >= int(count):
        raise ValueError(f"--shard={text!r}: give the number of this one from 0, and of all: 0/4")
    return int(index), int(count)


def run(
    predictor: Predictor | EventPredictor, job: Job, say: Callable[[str], None] = print
) -> Summary:
    """Pick everything that a job asks for and that is not done yet; with events, if it can.

    Raises:
        FileNotFoundError: an input matches nothing.
        ValueError: nothing there is wanted, the network gives no picks, an option cannot be, or
            the output folder holds picks made with other settings.
        RuntimeError: another process works on the same part of the folder.
    """
    events = predictor if isinstance(predictor, EventPredictor) else None
    task = _picker(predictor).experiment.task
    if not task.output.per_sample:
        raise ValueError(f"archives are picked; this network is for {task.name}")
    begin = time.perf_counter()
    inventory = None if job.inventory is None else stations.read(job.inventory)
    chosen = dict(job.options) | ({} if inventory is None else {"inventory": inventory})
    settings = describe(predictor, chosen, job.inventory, job.selection.channels)
    plan = plans.make(job.inputs, job.selection)
    mine = plan.part(*job.shard)
    say(_found(plan, mine, job.shard))
    result = Summary(planned=len(mine))
    result.unreadable |= {str(path): why for path, why in plan.unreadable.items()}
    reader = Reader(plan, predictor, chosen)
    pictures = Pictures(job.plot, job.report, day_report.about(predictor, job.options))
    with Folder(
        job.output,
        settings,
        shard=job.shard,
        quakeml=job.quakeml,
        events=events is not None,
        detections=detects(task),
        pictures=pictures.outputs,
    ) as folder:
        for path, why in result.unreadable.items() if job.shard[0] == 0 else ():
            folder.note_unreadable(Path(path), why)
        _work(predictor, reader, folder, mine, job, chosen, pictures, result)
        result.picks = sum(folder.done[day].picks for day in mine)
        result.events = sum(folder.done[day].events for day in mine)
        others, lines = {}, {}
        for day, entry, line in folder.entries():
            others[day], lines[day] = entry, line
        if all(day in others for day in plan.days):
            folder.done = others
            tally = Tally()
            tables = folder.collect(parquet=job.parquet, look=tally.add)
            result.collected, count = tables["picks"]
            say(f"{count} picks in {result.collected}")
            if events is not None:
                say(f"{tally}\nin {tables['events'][0]}")
            if "detections" in tables:
                where, number = tables["detections"]
                say(f"{number} detections in {where}")
            if job.report:
                index = write_index(job.output, lines.values(), pictures.about)
                say(f"pages of the station-days in {index}")
            if job.pyocto or job.gamma:
                for text in associators.write(
                    result.collected, job.output, inventory, pyocto=job.pyocto, gamma=job.gamma
                ):
                    say(text)
        else:
            left = sum(day not in others for day in plan.days)
            say(f"{left} station-days are left to other shards; the last one puts all together")
    result.seconds = time.perf_counter() - begin
    return result


def _work(
    predictor: Predictor | EventPredictor,
    reader: Reader,
    folder: Folder,
    days: list[StationDay],
    job: Job,
    chosen: dict[str, Any],
    pictures: Pictures,
    result: Summary,
) -> None:
    """Do the station-days that are not done."""
    result.stages = dict.fromkeys(("read", "prepare", "network", "write"), 0.0)
    todo = deque(day for day in days if not folder.is_done(day, *reader.inputs(day)))
    reading = ThreadPoolExecutor(job.readers, "read")
    writing = ThreadPoolExecutor(1, "write")
    ahead: deque[Future[Prepared]] = deque()
    written: deque[Future[dict[str, float]]] = deque()

    def finish(future: Future[dict[str, float]]) -> None:
        for name, value in future.result().items():
            result.stages[name] += value
        result.done += 1
        progress.step()

    with Progress(len(days), len(days) - len(todo)) as progress:
        try:
            while todo or ahead:
                while todo and len(ahead) <= job.readers:
                    ahead.append(reading.submit(reader, todo.popleft()))
                prepared = ahead.popleft().result()
                result.unreadable |= {bad["file"]: bad["reason"] for bad in prepared.unreadable}
                begin = time.perf_counter()
                sketches = wanted.sketches(predictor, prepared.span, job.plot, report=job.report)
                answers = _pick(predictor, prepared, chosen, sketches)
                prepared.seconds["network"] = time.perf_counter() - begin
                done = folder, prepared, answers, pictures, sketches
                written.append(writing.submit(_write, *done, result.remarks))
                while len(written) > UNWRITTEN:
                    finish(written.popleft())
            while written:
                finish(written.popleft())
        finally:
            reading.shutdown(cancel_futures=True)
            writing.shutdown()


def _pick(
    predictor: Predictor | EventPredictor,
    prepared: Prepared,
    chosen: dict[str, Any],
    sketches: Sketches | None = None,
) -> Answers:
    """What there is in a station-day, without what begins in its margins."""
    start_ns, end_ns = prepared.span
    picker, found, in_progress = _picker(predictor), PickList(), DetectionList()
    asked = isinstance(predictor, EventPredictor)
    segments = prepared.segments if asked else _emptied(prepared.segments)
    for segment, curves in picker.curves(segments, **chosen):
        picks = picker.picks(segment, curves, **chosen)
        if sketches is not None:
            sketches.add(segment, curves, picks)
        found += picks
        in_progress += picker.detections(segment, curves, **chosen)
    detections = DetectionList(
        one for one in merged_detections([in_progress]) if start_ns <= one.start_time.ns < end_ns
    )
    inside = PickList(pick for pick in merged([found]) if start_ns <= pick.peak_time.ns < end_ns)
    if not isinstance(predictor, EventPredictor):
        return Answers(predictor.name, inside, detections)
    records = {picker.sampling_rate_hz: prepared.segments, **prepared.resampled}
    events = predictor.events(records, found, within_ns=prepared.span, **chosen)
    prepared.segments, prepared.resampled = [], {}  # let go
    table = EventTable(predictor.name, events, inside, prepared.coverage)
    return Answers(predictor.name, inside, detections, table)


def _picker(predictor: Predictor | EventPredictor) -> Predictor:
    return predictor.picking if isinstance(predictor, EventPredictor) else predictor


def _emptied(segments: list[Segment]) -> Iterator[Segment]:
    """Segments in their order; each is let go when the next one is asked for."""
    segments.reverse()
    while segments:
        yield segments.pop()


def _write(
    folder: Folder,
    prepared: Prepared,
    answers: Answers,
    pictures: Pictures,
    sketches: Sketches | None,
    remarks: list[str],
) -> dict[str, float]:
    """Write a station-day, adds to the remarks, and returns the seconds of all stages."""
    begin = time.perf_counter()
    said = amplitudes.remarks(answers.picks)
    prepared.notes += said
    drawn = pictures.write(folder.path, prepared, sketches, answers.events)
    prepared.notes += drawn
    remarks += [f"{prepared.day.station} {prepared.day.date}: {text}" for text in (*said, *drawn)]
    folder.write(prepared, answers)
    return prepared.seconds | {"write": time.perf_counter() - begin}


def _found(plan: Plan, mine: list[StationDay], part: tuple[int, int]) -> str:
    """What there is, in words."""
    stations = len({day.station for day in plan.days})
    first, last = min(d.day for d in plan.days), max(d.day for d in plan.days)
    text = (
        f"{len(plan.days)} station-days of {stations} stations, "
        f"{StationDay('', first).date} to {StationDay('', last).date}"
    )
    if part[1] > 1:
        text += f"; {len(mine)} of them are for shard {part[0]}/{part[1]}"
    if plan.left_out:
        names = ", ".join(sorted(plan.left_out))
        text += f"\nchannels left out, {sum(plan.left_out.values())} files or traces: {names}"
    return text
