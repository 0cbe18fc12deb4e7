"""Whether the records of an evaluation can be among those of the training."""

from typing import Any

from seismollm_jax.data import catalogue, split_files
from seismollm_jax.data.records import Dataset

EXPOSURES = {
    "none": "",
    "included": "",
    "possible": (
        "not the split of the training, or another catalogue than that of the training: traces of "
        "the training may be among these, which would flatter the scores"
    ),
    "unknown": (
        "a converted checkpoint does not say what it was trained on: make sure that no trace "
        "of this part was among that"
    ),
}
"""Whether traces of the training are among those evaluated, and what to say about it."""


def exposure(
    description: dict[str, Any], dataset: Dataset, parts: catalogue.Parts, part: str
) -> str:
    """Whether traces of the training are in the part; one of `EXPOSURES`."""
    if description["dataset"] is None:  # trained by another program
        return "unknown"
    same_split = description["split_hash"] in (parts.hash, parts.file_hash)
    if same_split and part in ("val", "test"):
        return "none"
    same_catalogue = catalogue.fingerprint(dataset) == description["dataset"]
    if same_split or (part == "all" and same_catalogue):
        return "included"
    return "possible"


def refusal(
    description: dict[str, Any], dataset: Dataset, parts: catalogue.Parts, part: str
) -> str:
    """Why a part is not evaluated, and what to do."""
    ways = (
        f"give the split file of the training (--split_file=WORKDIR/{split_files.NAME}), or "
        "evaluate all the same with --allow_other_split"
    )
    if catalogue.fingerprint(dataset) != description["dataset"]:
        return (
            f"{dataset.path} is another catalogue than the one this checkpoint was trained on, so "
            f"it has no {part} part that is known to be free of training traces; evaluate "
            f"--split=all and make sure that the two have no traces in common, {ways}"
        )
    return (
        f"the {part} split of {dataset.path} (hash {parts.hash}) is not the one of the "
        f"training ({description['split_hash']}), so training data may be in it; evaluate "
        f"--split=all, restore the table as it was, {ways}"
    )
