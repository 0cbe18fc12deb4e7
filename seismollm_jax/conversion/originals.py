"""The published codes whose files are converted."""

from collections.abc import Iterable

from seismollm_jax.conversion import of_seismollm, of_seist
from seismollm_jax.conversion.original import Original

ORIGINALS = (of_seismollm.ORIGINAL, of_seist.ORIGINAL)


def of_family(name: str) -> Original:
    """The published code behind a model family.

    Raises:
        ValueError: a family that exists here alone.
    """
    for original in ORIGINALS:
        if name in original.families:
            return original
    raise ValueError(f"a network of the family {name}, of which there are no files elsewhere")


def of_names(keys: Iterable[str]) -> Original:
    """The published code whose state dicts have such names, without wrappers' prefixes.

    Raises:
        ValueError: none.
    """
    keys = list(keys)
    for original in ORIGINALS:
        if original.claims(keys):
            return original
    first, *others = (original.title for original in ORIGINALS)
    raise ValueError(
        f"not a {first} state dict, nor one of {' or '.join(others)}: no name begins with convs., "
        "llm_blocks., stem. or encoder_layers., once module. and _orig_mod. are taken off; the "
        f"first names are {keys[:3]}"
    )
