"""What the tests of conversions share."""

import functools
import json

import pytest

from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import Split

KNOWN: dict[str, Split] = {}


@pytest.fixture(autouse=True, scope="module")
def shapes_worked_out_once():
    """Working out a network's shapes takes half a second, and hundreds of files are opened here."""
    plain = Experiment.abstract

    @functools.wraps(plain)
    def abstract(self: Experiment) -> Split:
        name = json.dumps([self.settings, self.task.name])
        if name not in KNOWN:
            KNOWN[name] = plain(self)
        return KNOWN[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "abstract", abstract)
        yield
