"""Model families by name."""

from seismollm_jax.models.family import Family
from seismollm_jax.models.seismollm import FAMILY as SEISMOLLM
from seismollm_jax.models.seist import FAMILY_OF_SIZE

FAMILIES = {family.name: family for family in (SEISMOLLM, *FAMILY_OF_SIZE.values())}


def get(name: str) -> Family:
    """The family called `name`.

    Raises:
        ValueError: no such family; the message lists those there are.
    """
    if name not in FAMILIES:
        raise ValueError(f"model {name!r} is not one of {sorted(FAMILIES)}")
    return FAMILIES[name]
