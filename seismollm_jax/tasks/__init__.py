"""The tasks, by the word that names them and by the PyTorch original's short name."""

from seismollm_jax.tasks import back_azimuth, distance, magnitude, picking, polarity
from seismollm_jax.tasks.base import Task

FORMS = {
    forms[0].name: forms
    for forms in (
        picking.FORMS,
        (polarity.TASK,),
        (magnitude.TASK,),
        back_azimuth.FORMS,
        (distance.TASK,),
    )
}
"""Task -> its forms."""

TASKS = {name: forms[0] for name, forms in FORMS.items()}
"""Task -> its first form, the PyTorch original's."""


def get(name: str, form: str = "") -> Task:
    """The task called `name`, a word ("picking") or a short name ("dpk"), in one of its forms.

    Args:
        name: of the task.
        form: empty for the first one.

    Raises:
        ValueError: no such task or form; the message lists those there are.
    """
    short = {task.short_name: task.name for task in TASKS.values()}
    word = short.get(name, name)
    if word not in TASKS:
        names = ", ".join(f"{task.name} ({task.short_name})" for task in TASKS.values())
        raise ValueError(f"task {name!r} is not one of {names}")
    if not form:
        return TASKS[word]
    forms = {task.form: task for task in FORMS[word]}
    if form not in forms:
        there = ", ".join(filter(None, forms)) or "a single form without a name"
        raise ValueError(f"options.form={form!r}: the task {word} has {there}")
    return forms[form]
