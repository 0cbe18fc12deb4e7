"""Both formats: what was written is read, and what is wrong is refused with a reason."""

import collections
import contextlib
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seismollm_jax.conversion import safetensors_files, torch_files
from seismollm_jax.conversion.tensor_files import FileError, TensorFile, check, open_file, sha256
from tests.conversion.damage import Runs, flipped, storage_places

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ARRAYS = {
    "z.weight": np.arange(12, dtype=np.float32).reshape(3, 4).T,  # not in one piece
    "wte.weight": np.zeros((0, 768), np.float32),
    "norm.num_batches_tracked": np.array(7, np.int64),
    "a.half": np.array([1.5, -2], np.float16),
    "reversed": np.arange(5, dtype=np.float64)[::-1],
    "big_endian": np.arange(3, dtype=">i4"),
}
NOTES = {"task": "distance", "sampling_rate_hz": 50.0}


def write_pth(path: Path) -> None:
    payload = {"model_dict": ARRAYS, "epoch": np.int64(3), "loss": 0.5}
    torch_files.write(path, {**payload, "seismollm_jax": json.dumps(NOTES)})


def write_safetensors(path: Path) -> None:
    safetensors_files.write(path, ARRAYS, NOTES)


WRITERS = {"pth": write_pth, "safetensors": write_safetensors}
KINDS = pytest.mark.parametrize("kind", WRITERS)


def made(kind: str, folder: Path) -> Path:
    if kind == "pth":
        pytest.importorskip("torch")
    path = folder / f"made.{kind}"
    if not path.exists():
        WRITERS[kind](path)
    return path


def same(file: TensorFile, arrays: dict[str, np.ndarray]) -> None:
    assert set(file.tensors) == set(arrays)
    for name, expected in arrays.items():
        entry = file.tensors[name]
        value = entry.read()
        assert (entry.shape, value.shape) == (expected.shape, expected.shape)
        assert entry.dtype == value.dtype.name == expected.dtype.name
        assert value.tobytes() == expected.astype(expected.dtype.newbyteorder("<")).tobytes()


@KINDS
def test_round_trip(kind: str, tmp_path: Path) -> None:
    path = made(kind, tmp_path)
    file = open_file(path)
    check(file)
    same(file, ARRAYS)
    assert file.format == kind
    assert file.prefix == ""
    assert {key: file.notes[key] for key in NOTES} == NOTES
    assert not file.tensors["z.weight"].read().flags.writeable
    assert path.stat().st_mode & 0o777 == reference_mode(tmp_path)
    if kind == "pth":
        assert list(file.tensors) == list(ARRAYS)
        assert file.training == {"epoch": 3, "loss": 0.5}
    else:
        assert file.training is None


def reference_mode(folder: Path) -> int:
    (folder / "plain").touch()
    return (folder / "plain").stat().st_mode & 0o777


@KINDS
def test_content_decides_and_not_the_name(kind: str, tmp_path: Path) -> None:
    other = tmp_path / {"pth": "x.safetensors", "safetensors": "x.pth"}[kind]
    made(kind, tmp_path).rename(other)
    assert open_file(other).format == kind
    same(open_file(other), ARRAYS)


@KINDS
def test_any_flipped_bit_is_found_or_harmless(kind: str, tmp_path: Path) -> None:
    path = made(kind, tmp_path)
    whole, changed = path.read_bytes(), tmp_path / "changed"

    @FUZZ
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def flip(place: int, bit: int) -> None:
        changed.write_bytes(flipped(whole, place, bit))
        try:
            file = open_file(changed)
            check(file)
        except FileError:
            return
        same(file, ARRAYS)

    flip()


def test_flipped_values_of_a_pth_are_always_found(tmp_path: Path) -> None:
    path = made("pth", tmp_path)
    whole, changed = path.read_bytes(), tmp_path / "changed"
    places = storage_places(path)
    assert len(places) == sum(array.nbytes for array in ARRAYS.values())
    for place in places:
        changed.write_bytes(flipped(whole, place, place % 8))
        with pytest.raises(FileError, match="changed is not readable, truncated or damaged"):
            check(open_file(changed))


@KINDS
def test_every_truncation_is_found(kind: str, tmp_path: Path) -> None:
    whole, cut = made(kind, tmp_path).read_bytes(), tmp_path / "cut"
    for length in [*range(40), *range(40, len(whole), 23), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(FileError, match="cut"):
            open_file(cut)


def test_values_of_safetensors_are_checked_against_the_digest(tmp_path: Path) -> None:
    path = made("safetensors", tmp_path)
    path.write_bytes(flipped(path.read_bytes(), -1, 0))
    with pytest.raises(FileError, match="its tensors are not those written"):
        check(open_file(path))


def test_safetensors_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"module.a": np.ones(2, np.float32)}, path)
    file = open_file(path)
    check(file)
    assert (file.notes, file.prefix, list(file.tensors)) == ({}, "module.", ["a"])
    safetensors.numpy.save_file({"a": np.ones(2, bool)}, path)
    with pytest.raises(FileError, match=r"'a' has the type BOOL"):
        open_file(path)
    safetensors.numpy.save_file({}, path)
    with pytest.raises(FileError, match="holds no tensor"):
        open_file(path)


def test_bfloat16_becomes_float32_exactly(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    values = torch.tensor([1.0, -3.140625, 1e-38, float("inf")]).bfloat16()
    save_file({"a": values}, tmp_path / "a.safetensors")
    torch.save({"a": values}, tmp_path / "a.pth")
    for path in (tmp_path / "a.safetensors", tmp_path / "a.pth"):
        entry = open_file(path).tensors["a"]
        assert entry.dtype == "bfloat16"
        assert entry.read().dtype == np.float32
        np.testing.assert_array_equal(entry.read(), values.float().numpy())


def saved(content: Any, folder: Path, **options: Any) -> Path:
    torch = pytest.importorskip("torch")
    path = folder / "saved.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, **options)
    return path


def tensor(*sizes: int) -> Any:
    return pytest.importorskip("torch").ones(*sizes)


def test_old_format(tmp_path: Path) -> None:
    content = {"model_dict": {"b": tensor(2, 3), "a": tensor(1)}, "epoch": 1}
    path = saved(content, tmp_path, _use_new_zipfile_serialization=False)
    file = open_file(path)
    check(file)
    assert (list(file.tensors), file.training, file.format) == (["b", "a"], {"epoch": 1}, "pth")
    np.testing.assert_array_equal(file.tensors["b"].read(), np.ones((2, 3)))
    whole, cut = path.read_bytes(), tmp_path / "cut"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(FileError, match="cut"):
            open_file(cut)


def test_old_format_with_flipped_bits_raises_nothing_else(tmp_path: Path) -> None:
    """It carries no checksums, so that changed values cannot be found."""
    path = saved({"a": tensor(4)}, tmp_path, _use_new_zipfile_serialization=False)
    whole, changed = path.read_bytes(), tmp_path / "changed"

    @FUZZ
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def flip(place: int, bit: int) -> None:
        changed.write_bytes(flipped(whole, place, bit))
        with contextlib.suppress(FileError):
            for entry in open_file(changed).tensors.values():
                entry.read()

    flip()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_named_and_not_run(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    target = tmp_path / "ran"
    content = {"a": tensor(1), "b": Runs(target)}
    path = saved(content, tmp_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(FileError, match=r"asks for \S*open, which could run code.*state_dict\(\)"):
        open_file(path)
    assert not target.exists()


def test_numpy_scalar_is_refused_with_its_name(tmp_path: Path) -> None:
    path = saved({"model_dict": {"a": tensor(1)}, "loss": np.float64(1)}, tmp_path)
    with pytest.raises(FileError, match=r"asks for numpy\.\S*scalar"):
        open_file(path)


def cycle() -> dict[str, Any]:
    content: dict[str, Any] = {"model_dict": {"a": tensor(1)}, "epoch": []}
    content["epoch"].append(content["epoch"])
    return content


CONTENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "list": (lambda: [tensor(1)], "holds an object of type list; expected tensors by name"),
    "empty": (dict, "the state dict is empty"),
    "no mapping": (lambda: {"model_dict": 3}, "the state dict is of type int"),
    "wrapped": (lambda: {"state_dict": {"a": tensor(1)}}, "'state_dict' in it is of type dict"),
    "number": (lambda: {"a": tensor(1), "b": 3}, "'b' in it is of type int"),
    "no name": (lambda: {3: tensor(1)}, "3 in it is of type Tensor"),
    "twice": (lambda: {"module.a": tensor(1), "a": tensor(1)}, "'a' occurs twice"),
    "expanded": (lambda: {"a": tensor(1).expand(10**5, 10**5)}, "claims more values"),
    "complex": (lambda: {"a": tensor(1).cfloat()}, "'a' has the type complex64"),
    "sparse": (lambda: {"a": tensor(2).to_sparse()}, "'a' is no dense tensor"),
    "elsewhere": (lambda: {"a": tensor(2).to("meta")}, "'a' is no dense tensor"),
    "itself": (cycle, "contains itself"),
    "moments": (
        lambda: {"model_dict": {"a": tensor(1)}, "m": {0: [tensor(1).bool()]}},
        r"m'\]\[0\]\[0\] has the type bool",
    ),
    "notes": (lambda: {"a": tensor(1), "seismollm_jax": "{"}, "its notes are damaged"),
    "notes' type": (lambda: {"a": tensor(1), "seismollm_jax": 3}, "is of type int, not text"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_other_content_is_described(case: str, tmp_path: Path) -> None:
    content, message = CONTENTS[case]
    path = saved(content(), tmp_path)
    with pytest.raises(FileError, match=rf"saved\.pth.*{message}"):
        open_file(path)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["a", "b._orig_mod.c"], ""),
        (["module.a", "module.b"], "module."),
        (["_orig_mod.module._orig_mod.a"], "_orig_mod.module._orig_mod."),
        (["module.a", "_orig_mod.b"], "_orig_mod.,module."),
    ],
)
def test_prefixes_at_the_front_only(names: list[str], prefix: str, tmp_path: Path) -> None:
    file = open_file(saved(collections.OrderedDict((n, tensor(1)) for n in names), tmp_path))
    assert file.prefix == prefix
    plain = [n.replace("module.", "").removeprefix("_orig_mod.") for n in names]
    assert list(file.tensors) == [n.replace("_orig_mod.a", "a") for n in plain]


def test_moments_are_arrays(tmp_path: Path) -> None:
    shared = tensor(2)
    state = {
        "state": {0: {"step": tensor(1)[0], "exp_avg": shared}},
        "groups": [{"betas": (0.9, 1)}],
    }
    file = open_file(saved({"model_dict": {"a": shared}, "optimizer_dict": state}, tmp_path))
    assert file.training is not None
    found = file.training["optimizer_dict"]
    np.testing.assert_array_equal(found["state"][0]["exp_avg"], np.ones(2, np.float32))
    assert found["state"][0]["step"].shape == ()
    assert found["groups"] == [{"betas": (0.9, 1)}]


def test_compressed_archive_is_refused(tmp_path: Path) -> None:
    path, packed = saved({"a": tensor(99)}, tmp_path), tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(FileError, match="was compressed after it was written"):
        open_file(packed)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    np.savez(tmp_path / "a.npz", a=np.ones(1))
    with pytest.raises(FileError, match=r"a\.npz is a zip archive but not PyTorch's"):
        open_file(tmp_path / "a.npz")
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FileError, match=r"neither.*begins with b'version https://"):
        open_file(tmp_path / "pointer")
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(FileError, match="cannot be read"):
            open_file(path)


@KINDS
def test_interrupted_write_leaves_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(values: Any, place: Any, *rest: Any, **options: Any) -> None:
        if isinstance(place, Path):
            place.write_bytes(b"half")
        else:
            place.write(b"half")
        raise KeyboardInterrupt

    if kind == "pth":
        monkeypatch.setattr(pytest.importorskip("torch"), "save", interrupted)
    else:
        monkeypatch.setattr(safetensors_files, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        WRITERS[kind](tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@KINDS
def test_existing_file_stays(kind: str, tmp_path: Path) -> None:
    if kind == "pth":
        pytest.importorskip("torch")
    (tmp_path / "x").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another name or remove it"):
        WRITERS[kind](tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="create it first"):
        WRITERS[kind](tmp_path / "no" / "x")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")
