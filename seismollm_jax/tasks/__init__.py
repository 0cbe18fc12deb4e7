"""The tasks, by the word that names them and by the PyTorch original's short name."""

from seismollm_jax.tasks import back_azimuth, distance, magnitude, picking, polarity
from seismollm_jax.tasks.base import Task

TASKS = {
    task.name: task
    for task in (
        picking.TASK,
        polarity.TASK,
        magnitude.TASK,
        back_azimuth.TASK,
        distance.TASK,
    )
}


def get(name: str) -> Task:
    """The task called `name`, a word ("picking") or a short name ("dpk").

    Raises:
        ValueError: no such task; the message lists those there are.
    """
    short = {task.short_name: task for task in TASKS.values()}
    if name in TASKS:
        return TASKS[name]
    if name in short:
        return short[name]
    names = ", ".join(f"{task.name} ({task.short_name})" for task in TASKS.values())
    raise ValueError(f"task {name!r} is not one of {names}")
