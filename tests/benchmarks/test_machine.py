"""What figures were measured on, on systems that tell it in different ways."""

import platform
from pathlib import Path

import numpy as np
import pytest

from benchmarks import machine


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nmodel name : Some CPU: 3 GHz\nmodel name : Another\n", "Some CPU: 3 GHz"),
        ("processor : 0\nBogoMIPS : 50.00\n", "arm"),  # Linux on other architectures
        (None, "arm"),  # other systems
    ],
)
def test_the_processor_has_a_name(
    text: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(machine, "CPU_INFO", file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm")
    assert machine.processor() == expected


def test_versions_are_those_of_what_is_installed() -> None:
    assert machine.versions(["numpy", "no-such-package"]) == {"numpy": np.__version__}
