"""What all pictures of an evaluation share: figures outside pyplot, colours, boxes of figures."""

from __future__ import annotations

import os
from typing import IO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

Target = str | os.PathLike[str] | IO[bytes]
"""Where a picture goes: a file that is made, or one that is open."""

COLOURS = {"P": "#1f5fa8", "S": "#c8321e"}
OTHER_COLOUR = "#3a7d44"
TRACE_COLOUR = "#333333"


def new_figure(width: float, height: float) -> Figure:
    """Return a figure outside pyplot: nothing global is touched, threads do not meet."""
    figure = Figure(figsize=(width, height), dpi=120)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    FigureCanvasAgg(figure)
    return figure


def text_box(axis: Axes, text: str) -> None:
    """Write lines of figures in the upper left corner."""
    axis.text(
        0.03, 0.97, text, transform=axis.transAxes, ha="left", va="top", fontsize=9,
        linespacing=1.35, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2},
    )  # fmt: skip


def phase_colour(phase: str) -> str:
    """Blue for P phases, red for S phases."""
    return COLOURS.get(phase[:1], OTHER_COLOUR)
