"""How far an archive is."""

from __future__ import annotations

import datetime
import time

from tqdm import tqdm

LINE_EVERY_S = 30.0  # between lines about progress, where there is no terminal


class Progress:
    """A bar of station-days; without a terminal, now and then a line."""

    def __init__(self, total: int, before: int):
        self.total, self.before, self.done = total, before, 0
        self.begin = self.said = time.monotonic()
        self.bar = tqdm(
            total=total, initial=before, unit="station-day", disable=None, smoothing=0.05
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        self.bar.update()
        now = time.monotonic()
        if self.bar.disable and now - self.said >= LINE_EVERY_S:
            self.said = now
            each = (now - self.begin) / self.done
            left = self.total - self.before - self.done
            print(
                f"{self.before + self.done}/{self.total} station-days, {60 / each:.1f} a minute, "
                f"{datetime.timedelta(seconds=round(left * each))} left",
                flush=True,
            )
