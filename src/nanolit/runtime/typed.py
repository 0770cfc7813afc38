"""A plain mapping becomes a dataclass, or the arguments of a class, all keys and types checked; not a schema library.

The configuration arrives as what YAML can say. Here unknown keys, wrong types and missing settings become one line that
names the setting as the user writes it (`model.n_embd`). What a value may be beyond its type is decided by the
dataclass's own `__post_init__`, whose ValueError passes unchanged.
"""

import dataclasses
import inspect
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nanolit.runtime.suggest import suggest

T = TypeVar("T")
ORIGINS = (None, Union, types.UnionType, Literal, tuple, list, dict)  # of what YAML can say


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Builds dataclass `cls` from `values`; `where` is the setting's name as the user knows it, e.g. "model"."""
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    for key in values:
        if key not in fields:
            raise ValueError(
                f"{_join(where, key)}: no such setting; {suggest(str(key), fields, prefix=_join(where, ''))}"
            )
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_join(where, name)}: missing; give it a value ({_describe(hints[name])})")
    return cls(**{name: _checked(hints[name], value, _join(where, name)) for name, value in values.items()})


def build_arguments(cls: type, values: Mapping[str, Any], where: str, also: Collection[str] = ()) -> dict[str, Any]:
    """The arguments of any class; `also` names settings that are read elsewhere. What is annotated with more than YAML
    can say is the class's own affair.
    """
    parameters = inspect.signature(cls).parameters
    for key in values:
        if key not in parameters:
            raise ValueError(f"{_join(where, key)}: no such setting; {suggest(str(key), [*parameters, *also])}")
    try:
        hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    except NameError:  # a name that only type checkers import
        hints = {}
    for name, parameter in parameters.items():
        is_needed = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if is_needed and name not in values and parameter.default is parameter.empty:
            raise ValueError(f"{_join(where, name)}: missing; give it a value ({_describe(hints.get(name, Any))})")
    return {name: _checked(hints.get(name, Any), value, _join(where, name)) for name, value in values.items()}


def refuse_unread(config: Any, read_by: Mapping[str, Collection[str]], where: str) -> None:
    """Refuses a value that would do nothing: not the default, of a field that `config.kind` does not read.

    `read_by` says which fields each kind reads; a field that it does not name is read by every kind.
    """
    for field in dataclasses.fields(config):
        kinds = [kind for kind, names in read_by.items() if field.name in names]
        value = getattr(config, field.name)
        if kinds and config.kind not in kinds and value != field.default:
            raise ValueError(
                f"{where}.{field.name}={value}: {where}.kind={config.kind} does not read it, only {', '.join(kinds)}; "
                f"leave it out, or choose another {where}=, as {where}={kinds[0]}"
            )


def _checked(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation wants it, or a ValueError that names the setting."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or origin not in ORIGINS or (origin is None and not isinstance(hint, type)):
        return value
    if origin in (Union, types.UnionType):
        return _checked_union(arguments, value, where)
    if origin is Literal:
        if any(value == allowed and type(value) is type(allowed) for allowed in arguments):
            return value
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if isinstance(value, Mapping):
            return build(hint, value, where)  # type: ignore[arg-type]
    elif origin in (tuple, list):
        if isinstance(value, list | tuple) and (origin is list or arguments[-1] is ... or len(arguments) == len(value)):
            items = [hint_of_item for hint_of_item in arguments if hint_of_item is not ...]
            items = items if origin is tuple and arguments[-1] is not ... else items * len(value)
            checked = (_checked(item, v, f"{where}[{i}]") for i, (item, v) in enumerate(zip(items, value, strict=True)))
            return origin(checked)
    elif origin is dict:
        if isinstance(value, Mapping):
            return {key: _checked(arguments[1], item, _join(where, key)) for key, item in value.items()}
    elif hint is Path and isinstance(value, str | Path):
        return Path(value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise ValueError(f"{where}: got {value!r} ({type(value).__name__}), expected {_describe(hint)}")


def _checked_union(members: tuple[Any, ...], value: Any, where: str) -> Any:
    """The first member that takes the value; with one member besides None, that member's own message."""
    if value is None and type(None) in members:
        return None
    others = [member for member in members if member is not type(None)]
    if len(others) == 1 and dataclasses.is_dataclass(others[0]) and isinstance(value, Mapping):
        return build(others[0], value, where)  # type: ignore[arg-type]
    for member in sorted(others, key=lambda member: member is float):  # an int stays an int in `int | float`
        try:
            return _checked(member, value, where)
        except ValueError:
            continue
    raise ValueError(f"{where}: got {value!r} ({type(value).__name__}), expected {_describe_any(members)}")


def _describe(hint: Any) -> str:
    """The annotation in the user's words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _describe_any(arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (tuple, list):
        shown = [_describe(argument) for argument in arguments if argument is not ...]
        return f"a list of {shown[0]}" if len(shown) == 1 else f"a list of {len(shown)} ({', '.join(shown)})"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "settings (key: value)"
    return getattr(hint, "__name__", str(hint))


def _describe_any(members: tuple[Any, ...]) -> str:
    return " or ".join("null" if member is type(None) else _describe(member) for member in members)


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
