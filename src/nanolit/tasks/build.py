"""A task from its section in the configuration: which class, its own settings, and those that all tasks have."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from nanolit.runtime.typed import build, build_arguments
from nanolit.tasks.task import Task, TaskMixture, TaskSequence, TaskSlice


@dataclass(frozen=True)
class TaskConfig:
    """The settings that all tasks have; the rest of a section goes to the class that `_target_` names."""

    start: int = 0  # which examples: start:stop:step of all
    stop: int | None = None
    step: int = 1
    times: int = 1  # how often it is learnt in a mixture


def make_task(name: str, section: Mapping[str, Any]) -> Task:
    """The task that `section`, known to the user as task.NAME, describes."""
    where = f"task.{name}"
    own = {key: value for key, value in section.items() if key not in TaskConfig.__dataclass_fields__}
    config = build(TaskConfig, {key: value for key, value in section.items() if key not in own}, where)
    if config.times < 1:
        raise ValueError(f"{where}.times: got {config.times}, must be at least 1; leave the task out instead")
    kind = _class(own.pop("_target_", None), where)
    own = build_arguments(kind, own, where, also=TaskConfig.__dataclass_fields__)
    try:
        task = kind(**own)
        is_whole = (config.start, config.stop, config.step) == (0, None, 1)
        return task if is_whole else TaskSlice(task, config.start, config.stop, config.step)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from error


def make_mixture(sections: Mapping[str, Mapping[str, Any]], order: str = "shuffled") -> TaskSequence:
    """All tasks of a mixture, each as often as it says, shuffled or in sequence."""
    tasks, names = [], []
    for name, section in sections.items():
        times = section.get("times", 1)
        tasks += [make_task(name, section)] * times
        names += [name] * times
    return (TaskSequence if order == "sequence" else TaskMixture)(tasks, names)


def _class(target: Any, where: str) -> type[Task]:
    if not isinstance(target, str) or "." not in target:
        raise ValueError(
            f"{where}._target_: got {target!r}, allowed: the path of a class, as my_tasks.Capitals; give it"
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{where}._target_: {target} cannot be imported ({error}); mend its path") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ValueError(f"{where}._target_: {target} is no Task; derive it from nanolit.tasks.task.Task")
    return found
