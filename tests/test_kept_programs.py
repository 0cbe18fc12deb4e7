"""Where the scripts keep compiled programs."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from seismollm_jax import command_line

AMD = "vendor_id : AuthenticAMD\nflags : fpu avx2"
INTEL = "vendor_id : GenuineIntel\nflags : fpu avx2"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A user without settings, at a machine of AMD's."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(command_line, "_processor", lambda: AMD)
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def kept() -> str | None:
    command_line.keep_programs()
    return jax.config.jax_compilation_cache_dir


def test_in_the_users_folder_one_for_each_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Path(kept() or "")
    assert first.parent == tmp_path / "home/seismollm_jax/xla"
    assert first.is_dir()
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(command_line, "_processor", lambda: f"{AMD} avx512f")
    assert Path(kept() or "").parent == first.parent
    assert Path(kept() or "") != first


def test_other_settings_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert kept() == str(tmp_path)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert kept() is None


def test_nothing_is_kept_where_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept() is None


def test_nothing_is_kept_of_what_xla_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "_processor", lambda: INTEL)
    assert kept() is None
