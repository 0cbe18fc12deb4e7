"""Pictures and the page of a record that is picked into a single table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.html_page import Table
from seismollm_jax.inference import amplitudes
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.events.predictor import EventPredictor
from seismollm_jax.inference.events.table import Event
from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.pictures import day_report, figures, records, wanted
from seismollm_jax.inference.predictor import Predictor
from seismollm_jax.inference.streams import Segment

ALWAYS = (-(2**62), 2**62)


class TablePictures:
    """What is drawn of the records of a table.

    Attributes:
        said: where things are, and what is missing.
    """

    def __init__(
        self,
        predictor: Predictor | EventPredictor,
        output: Path,
        *,
        plot: str | None = None,
        report: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        """Decide what to draw.

        Args:
            predictor: that picks.
            output: the table.
            plot: "event" or "hour" for files in a folder beside the table, or a file for pictures
                of whole pieces, the second one with a number in its name.
            report: page to write.
            options: of the analysis, for the page.
        """
        self.report, self.pieces, self.said = report, 0, list[str]()
        self.kind = plot if plot in records.KINDS else None
        self.path = None if plot is None or self.kind else Path(plot)
        self.folder = output.with_name(f"{output.stem}_pictures")
        self._about = day_report.about(predictor, options or {})
        self._sketches = wanted.sketches(predictor, ALWAYS, self.kind, report=report is not None)
        self._phases = wanted.phases(predictor)

    def add(self, segment: Segment, curves: np.ndarray, picks: Sequence[Pick]) -> None:
        """Take a piece of a record, its curves (samples, k) and its picks."""
        if self._sketches is not None:
            self._sketches.add(segment, curves, picks)
        if self.path is not None:
            self.pieces += 1
            path = self.path
            if self.pieces > 1:  # the first picture has the name asked for, the others a number
                path = path.with_stem(f"{path.stem}-{self.pieces}")
            path.parent.mkdir(parents=True, exist_ok=True)
            figures.plot_record(segment, curves, picks, path, self._phases)
            self.said.append(f"picture in {path}")

    def finish(
        self, coverage: Coverage, picks: Iterable[Pick], events: Sequence[Event] | None = None
    ) -> list[str]:
        """Draw what is left, and write the page.

        Args:
            coverage: of the records.
            picks: all of them.
            events: with the answers of other networks; None takes the pairs of picks.

        Returns:
            What there is, and what is missing.
        """
        said = [*self.said, *amplitudes.remarks(picks)]
        if self._sketches is None:
            return said
        if self.kind:
            said += records.write(self._sketches, self.folder, self.kind)
            said.append(f"pictures in {self.folder}")
        if self.report is not None:
            remarks = [*coverage.notes, *said]
            found = self._sketches.events if events is None else events
            atomic_files.write(self.report, self._page(coverage, found, remarks).encode())
            said.append(f"page in {self.report}")
        return said

    def _page(self, coverage: Coverage, events: Sequence[Event], remarks: Sequence[str]) -> str:
        assert self._sketches is not None
        seconds = coverage.to_dataframe()
        wanted = [
            name
            for name in seconds.columns[1:]
            if name in ("read", "analysed", "masked", "gap") or seconds[name].any()
        ]
        table = Table(
            "By instrument",
            ["name:instrument", *(f"number:{name.replace('_', ' ')}" for name in wanted)],
            [
                [row["trace_id"], *(f"{row[name]:,.1f}" for name in wanted)]
                for _, row in seconds.iterrows()
            ],
        )
        analysed, read = float(seconds["analysed"].sum()), float(seconds["read"].sum())
        strips = self._sketches.strips
        names = sorted({strip.trace_id for strip in strips})
        first = min((strip.start_time for strip in strips), default=None)
        last = max((strip.end_time for strip in strips), default=None)
        when = "" if first is None or last is None else (
            f"{first.strftime('%Y-%m-%d %H:%M:%S')} to {last.strftime('%Y-%m-%d %H:%M:%S')} UTC"
        )  # fmt: skip
        share = f"{100 * analysed / read:.1f} % of what was read" if read else "nothing was read"
        return day_report.render(
            f"Picks of {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}",
            [when],
            self._sketches,
            events,
            table,
            (f"{analysed / 3600:,.2f} h", f"{share}, all components"),
            remarks,
            self._about,
        )
