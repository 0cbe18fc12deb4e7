"""convert_weights.py: its commands from the command line, what they print and write down."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from configs import picking
from convert_weights import config_for
from seismollm_jax.conversion import commands
from seismollm_jax.conversion.report import ConversionError
from tests.conversion import originals
from tests.models import tiny
from tests.models.test_pretrained import CONFIG

ROOT = Path(__file__).parents[1]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
    commands.main(config_for)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded network as safetensors, its GPT-2's config.json, and it converted."""
    folder = tmp_path_factory.mktemp("command line")
    originals.bare(folder / "dpk.safetensors", tiny.full_state_dict("picking"))
    gpt2 = CONFIG | {"n_embd": 64, "n_head": 4, "n_layer": 4, "n_positions": 256}
    (folder / "gpt2").mkdir()
    (folder / "gpt2/config.json").write_text(json.dumps(gpt2))
    told = originals.given("picking")
    originals.import_file(folder / "dpk.safetensors", folder / "run", told)
    return folder


def told(folder: Path) -> list[str]:
    return [f"--gpt2={folder / 'gpt2'}", "--window=1024", "--lora-dropout=0.2"]


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_from_torch(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, report = tmp_path / "my run", tmp_path / "new" / "report.json"
    options = ["--output", output, "--report", report, *told(folder), "--sampling-rate=50"]
    run(monkeypatch, "from-torch", "--source", folder / "dpk.safetensors", *options)
    printed = capsys.readouterr().out
    assert "picking, 3 GPT-2 layers of width 64 with 4 heads, LoRA of rank 16" in printed
    assert "  normalisation = std\n" in printed
    assert "  sampling_rate_hz" not in printed
    assert "every tensor was read back and is equal; outputs" in printed or (
        "outputs were not compared" in printed
    )
    assert "without optimiser and schedule" in printed
    content = json.loads(report.read_text())
    assert content["command"] == "from-torch"
    assert content["problems"] == []
    assert len(content["tensors"]) == len(tiny.file_layout("picking"))
    assert content["tensors"][0] == {
        "source": "convs.0.convs.0.in_proj.weight",
        "target": "embedder/blocks/0/branches/0/in_proj/kernel",
        "transform": "transpose",
        "shape": "(3, 3, 1)",
        "dtype": "float32",
    }
    assert content["given"]["sampling_rate_hz"] == 50.0
    assert listed(tmp_path) == ["my run", "new"]

    # The command that it prints makes the very configuration that the checkpoint has.
    line = printed.strip().splitlines()[-1]
    python, script, published, *changes, workdir = shlex.split(line)
    assert (python, script, published) == ("python", "train.py", "--config=configs/picking.py")
    assert workdir == f"--workdir={output}"
    values = flags.FlagValues()
    monkeypatch.setattr(sys, "argv", [script, *changes])  # which config_flags looks at
    config_flags.DEFINE_config_dict("config", picking.get_config(), flag_values=values)
    values(sys.argv)
    expected = {**content["config"], "data": {**content["config"]["data"], "path": "DATA"}}
    assert json.loads(values.config.to_json()) == expected


def test_dry_runs_print_every_tensor(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, output = folder / "dpk.safetensors", tmp_path / "x"
    dry = ["--dry-run", "--output", output]
    run(monkeypatch, "from-torch", "--source", source, *dry, *told(folder))
    there = capsys.readouterr().out
    run(monkeypatch, "to-torch", "--checkpoint", folder / "run", *dry, "--format=safetensors")
    again = capsys.readouterr().out
    for name in tiny.file_layout("picking"):
        assert f"\n{name} " in there
        assert f" {name} " in again
    assert listed(tmp_path) == []


def test_to_torch(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, gpt2 = tmp_path / "a.safetensors", tmp_path / "gpt2"
    options = ["--output", output, "--format=safetensors", "--gpt2-output", gpt2]
    run(monkeypatch, "to-torch", "--checkpoint", folder / "run", *options)
    printed = capsys.readouterr().out
    assert f"state dict written to {output}" in printed
    assert f"GPT-2 written to {gpt2}" in printed
    assert listed(tmp_path) == ["a.safetensors", "gpt2"]
    with pytest.raises(ValueError, match="give --output, --gpt2-output or both"):
        run(monkeypatch, "to-torch", "--checkpoint", folder / "run")


def test_inspect_and_verify(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "inspect", "--source", folder / "run")
    printed = capsys.readouterr().out
    assert "embedder/blocks/0/branches/0/in_proj/kernel" in printed
    assert "settings.gpt2.n_head " in printed
    run(monkeypatch, "verify", folder / "dpk.safetensors", folder / "run")
    printed = capsys.readouterr().out
    assert "run are the same network (picking):" in printed
    assert f"tensors: {len(tiny.file_layout('picking'))} equal bit for bit" in printed
    assert "outputs, a in JAX - b in JAX: 0.0e+00 of their size (allowed 1e-04)" in printed


def test_reports_of_failures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = tiny.full_state_dict("picking")
    arrays["convs.0.norm.wieght"] = arrays.pop("convs.0.norm.weight")
    source, report = originals.bare(tmp_path / "a.safetensors", arrays), tmp_path / "r.json"
    report.write_text("an earlier one")
    options = ["--output", tmp_path / "x", "--report", report, *told(folder)]
    with pytest.raises(ConversionError):
        run(monkeypatch, "from-torch", "--source", source, *options)
    content = json.loads(report.read_text())
    assert content["problems"] == [
        "missing: convs.0.norm.weight (like convs.0.norm.wieght)",
        "unexpected: convs.0.norm.wieght (like convs.0.norm.weight)",
    ]
    with pytest.raises(FileExistsError):
        run(
            monkeypatch,
            "to-torch",
            "--checkpoint",
            folder / "run",
            "--output",
            source,
            "--report",
            report,
        )
    content = json.loads(report.read_text())
    assert content["command"] == "to-torch"
    assert content["problems"] == [f"{source} exists; choose another name or remove it"]
    assert listed(tmp_path) == ["a.safetensors", "r.json"]


def test_exit_code_of_a_failure(folder: Path, tmp_path: Path) -> None:
    """From the shell: 1 with the problems and without a traceback."""
    other = originals.bare(tmp_path / "emg.safetensors", tiny.full_state_dict("magnitude"))
    failed = subprocess.run(
        [sys.executable, "convert_weights.py", "verify", str(folder / "run"), str(other)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert "its head is that of magnitude (emg) or distance (dis), not picking" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_report_never_takes_the_place_of_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"weights")
    failed = subprocess.run(
        [sys.executable, "convert_weights.py", "inspect", f"--source={path}", f"--report={path}"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert "is read or written here" in failed.stderr
    assert path.read_bytes() == b"weights"
