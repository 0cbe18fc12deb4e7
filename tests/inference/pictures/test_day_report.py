"""Overviews, pages and pictures of days: complete, and the same after an interruption."""

import dataclasses
import html.parser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from obspy import Stream, UTCDateTime

from seismollm_jax.inference.archive import run as archive
from seismollm_jax.inference.archive.days import Selection
from seismollm_jax.inference.archive.folder import Folder
from seismollm_jax.inference.archive.run import Job
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.pictures import day_report, figures, helicorder, records
from seismollm_jax.inference.pictures.figures import COLOURS, GAP_COLOUR
from seismollm_jax.inference.pictures.helicorder import Strip
from seismollm_jax.inference.pictures.table import TablePictures
from seismollm_jax.inference.predictor import Predictor
from tests.inference import archives
from tests.inference.archives import MIDNIGHT, STATIONS
from tests.inference.traces import pick

RATE = 20.0
DAY = UTCDateTime("2024-03-01")
HOUR_NS = 3600 * 10**9


def strip(start_s: float, seconds: float, **changes) -> Strip:
    samples = round(seconds * RATE)
    data = np.random.default_rng(1).normal(0, 1, samples).astype(np.float32)
    first = round((DAY.timestamp + start_s) * RATE)
    made = Strip("XX.A..HH", "HHZ", first, RATE, data, np.ones(samples, bool))
    return dataclasses.replace(made, **changes)


def test_an_envelope_loses_nothing() -> None:
    item = strip(100.0, 5000)
    item.data[::10_000] = [1000 * (i + 1) for i in range(10)]  # single samples
    item.valid[60_005:60_020] = False
    made = helicorder.envelope([item], DAY.ns, DAY.ns + 2 * HOUR_NS, 3 * 10**9)
    assert len(made.low) == 2400
    there = np.isfinite(made.low)
    assert there.sum() == 1667  # the first and the last one are partly filled
    assert made.gap[~there].all()
    inside = slice(34, 1699)
    assert np.flatnonzero(made.gap[inside]).tolist() == [(100 + 3000) // 3 - 34]
    for i in range(10):  # hardly changed by the filter, in their own bins
        bin_ = int((100 + i * 500) // 3)
        if i:  # the filter begins settled at the first sample
            assert made.high[bin_] == pytest.approx(1000 * (i + 1), rel=0.3)
    slow = helicorder.envelope(
        [dataclasses.replace(item, data=item.data + 1e5)], DAY.ns, DAY.ns + 2 * HOUR_NS, 3 * 10**9
    )
    np.testing.assert_allclose(slow.high[there], made.high[there], atol=0.1)  # constants go


def test_it_does_not_matter_how_a_record_is_divided() -> None:
    item = strip(0, 600)
    item.data[:] = np.repeat(np.arange(120), 100) % 7  # nothing a filter could ring on at the cut
    cut = 7000
    item.valid[cut - 200 : cut] = False
    parts = [
        dataclasses.replace(item, data=item.data[: cut - 200], valid=item.valid[: cut - 200]),
        dataclasses.replace(
            item, first=item.first + cut, data=item.data[cut:], valid=item.valid[cut:]
        ),
    ]
    whole, pieces = (
        helicorder.envelope(some, DAY.ns, DAY.ns + 600 * 10**9, 10**9) for some in ([item], parts)
    )
    np.testing.assert_array_equal(whole.low, pieces.low)
    np.testing.assert_array_equal(whole.high, pieces.high)
    np.testing.assert_array_equal(whole.gap, pieces.gap)


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(60, 1), (1560, 1), (1800, 2), (7200, 5), (43200, 30), (90000, 60)]
)
def test_rows(seconds: int, minutes: int) -> None:
    assert helicorder.row_ns(DAY.ns, DAY.ns + seconds * 10**9) == minutes * 60 * 10**9


def test_overviews_show_picks_and_gaps(tmp_path: Path) -> None:
    strips = [strip(0, 3000), strip(4000, 3200)]
    times = [*range(100, 3000, 200), 90_000]  # the last one on the day after
    picks = [pick("P", DAY + t) for t in times]
    span = DAY.ns, DAY.ns + 2 * HOUR_NS
    found = {}
    for name, shown in (("with", picks), ("without", [])):
        for size, png in zip(("wide", "narrow"), helicorder.png(strips, shown, *span), strict=True):
            path = tmp_path / f"{name}-{size}.png"
            path.write_bytes(png)
            pixels = imread(path)[:, :, :3]
            found[name, size] = {
                colour: int((np.abs(pixels - to_rgb(colour)).max(2) < 0.05).sum())
                for colour in (COLOURS["P"], COLOURS["S"], GAP_COLOUR)
            }
    for size in ("wide", "narrow"):
        both = found["with", size], found["without", size]
        assert both[0][COLOURS["P"]] > both[1][COLOURS["P"]] + 15 * 12
        assert both[0][COLOURS["S"]] == both[1][COLOURS["S"]]
        assert both[0][GAP_COLOUR] > 3000


class Page(html.parser.HTMLParser):
    """What a page holds; an error where tags do not match."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.tags, self.links, self.words = [], [], [], []
        self.feed(path.read_text())
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        for name in ("src", "srcset"):
            assert values.get(name, "data:").startswith("data:")  # nothing from elsewhere
        if tag == "a":
            self.links.append(values["href"])
        if tag not in ("meta", "link", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return archives.predictor(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def record() -> Stream:
    return archives.record(STATIONS[0], MIDNIGHT - 40, 80, 0)


def overview(
    strips: list[Strip], picks: list[Pick], start_ns: int, end_ns: int
) -> tuple[bytes, bytes]:
    """In place of a picture, which takes long, what would be in it."""
    sums = [(strip.first, float(strip.data.sum())) for strip in strips]
    told = repr((sums, [pick.peak_time.ns for pick in picks], start_ns, end_ns)).encode()
    return bytes(24) + b"wide" + told, bytes(24) + b"narrow" + told


@pytest.fixture
def job(record: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Two station-days with few pictures."""
    monkeypatch.setattr(records, "MOST_EVENTS", 3)
    monkeypatch.setattr(day_report, "MOST_PICTURES", 2)
    monkeypatch.setattr(figures, "DPI", 40)
    monkeypatch.setattr(helicorder, "png", overview)
    archives.write_sds(tmp_path / "sds", [record])
    return Job(
        inputs=(str(tmp_path / "sds"),), output=tmp_path / "straight", plot="event", report=True
    )


def drawn(output: Path) -> dict[str, bytes]:
    """Pictures and pages."""
    files = [*output.glob("pictures/**/*.png"), *output.glob("report/**/*.html")]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def quiet(text: str) -> None:
    assert text


def test_an_interrupted_archive_has_the_same_pictures(
    job: Job, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = archive.run(predictor, job, quiet)
    assert len(summary.remarks) == 2  # of each station-day
    assert "XX.ONE 2019-12-31: pictures of the 3 most probable events; " in str(summary)
    straight = drawn(job.output)
    names = sorted(name for name in straight if name.startswith("pictures/XX.ONE/2019-365/"))
    assert len(names) == 3
    assert len(straight) == 2 * 3 + 2 + 1

    output, write = tmp_path / "killed", Folder._append

    def killed(folder, line):
        if len(list(output.glob("picks/*/*.csv"))) == 2:
            raise KeyboardInterrupt
        write(folder, line)

    again = dataclasses.replace(job, output=output)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            archive.run(predictor, again, quiet)
    (output / "pictures/XX.ONE/2020-001/stale.png").touch()
    (output / "pictures/XX.ONE/.2020-001.0123abcd.partial").mkdir()
    assert archive.run(predictor, again, quiet).done == 1
    assert drawn(output) == straight
    assert not list(output.rglob("*.partial"))

    index = Page(output / "report/index.html")
    pages = [link for link in index.links if link.endswith(".html")]
    assert pages == ["XX.ONE/2019-365.html", "XX.ONE/2020-001.html"]
    assert all((output / "report" / link).exists() for link in pages)

    # Without pictures asked for, nothing is done again, and what changed loses its old ones.
    plain = dataclasses.replace(again, plot=None, report=False)
    assert archive.run(predictor, plain, quiet).done == 0
    (output / "picks/XX.ONE/2020-001.csv").unlink()
    assert archive.run(predictor, plain, quiet).done == 1
    assert {name for name in drawn(output) if "2020-001" in name} == set()


def test_the_page_of_a_station_day(job: Job, predictor: Predictor) -> None:
    only = dataclasses.replace(job, plot="hour", selection=Selection(end_ns=MIDNIGHT.ns))
    summary = archive.run(predictor, only, quiet)
    page = Page(only.output / "report/XX.ONE/2019-365.html")
    assert page.tags.count("img") == 1 + 2  # overview and events
    assert page.tags.count("source") == 1  # the overview for narrow screens
    for words in (
        *("XX.ONE, 2019-12-31", "Day 365 of 2019, UTC", "XX.ONE..HH", "HHE HHN HHZ"),
        *("P 0.5 (as asked for)", str(predictor.path), "The 2 most probable of"),
    ):
        assert words in page.text
    lines = (only.output / "picks.csv").read_text().splitlines()[1:]
    assert len(lines) == summary.picks
    shown = [line.split(",")[2][11:19] for line in lines if ",P," in line]
    assert sum(time in page.text for time in shown) > 0.8 * len(shown)  # but for rounding
    pictures = list(only.output.glob("pictures/*/*/*"))
    assert [path.name for path in pictures] == ["XX.ONE..HH_20191231T23.png"]


@pytest.mark.parametrize("kind", ["event", "hour", "file"])
def test_a_single_table(
    record: Stream,
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr(records, "MOST_EVENTS", 2)
    plot = str(tmp_path / "record.png") if kind == "file" else kind
    report = tmp_path / "page.html" if kind == "event" else None
    made = TablePictures(predictor, tmp_path / "picks.csv", plot=plot, report=report)
    coverage, picks = Coverage(), []
    segments, _ = predictor.segments(record, coverage=coverage)
    for segment, curves in predictor.curves(segments):
        found = predictor.picks(segment, curves)
        made.add(segment, curves, found)
        picks += found
    said = made.finish(coverage, picks)
    files = sorted(path.name for path in tmp_path.glob("picks_pictures/*"))
    if kind == "file":
        assert said == [f"picture in {plot}"]
        assert Path(plot).stat().st_size > 3000
        assert files == []
    elif kind == "hour":
        assert files == [f"XX.ONE..HH_{hour}.png" for hour in ("20191231T23", "20200101T00")]
    else:
        assert len(files) == 2
        assert any(text.startswith("pictures of the 2 most probable events; ") for text in said)
        page = Page(tmp_path / "page.html")
        assert "2019-12-31 23:59:20 to 2020-01-01 00:00:40 UTC" in page.text
        assert page.tags.count("img") == 1 + 2
