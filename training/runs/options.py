"""Command-line flags from the fields of dataclasses, nested ones with a dot: --model.gamma 0.05.

The comment behind a field is its help. Flags, `config.json` and `changed` share these names.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that names the nearest flag when it refuses one."""

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> argparse.Namespace:
        known, unknown = self.parse_known_args([dashed(a) for a in args], namespace)
        if unknown:
            self.refuse(unknown[0])
        return known

    def refuse(self, unknown: str) -> NoReturn:
        """Exit with code 2, naming the flag that was probably meant."""
        near = difflib.get_close_matches(unknown.split("=")[0], self._option_string_actions, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        self.error(f"unknown argument {unknown}{hint}")

    def first(self, arguments: Sequence[str], kind: str, known: Collection[str]) -> str:
        """The first argument, a name of some kind; exits with code 2 for one that is not known."""
        if not arguments or arguments[0].startswith("-"):
            self.parse_args(list(arguments) or ["--help"])
            self.error(f"the {kind} comes first")
        if arguments[0] not in known:
            near = difflib.get_close_matches(arguments[0], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"want one of {', '.join(known)}"
            self.error(f"there is no {kind} {arguments[0]}; {hint}")
        return arguments[0]


def dashed(argument: str) -> str:
    """--input_size as --input-size; values stay as they are."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def add_flags(parser: argparse.ArgumentParser, config: Any) -> None:
    """A flag for every field of a dataclass; those not given are absent from the result."""
    for name, (kind, help_text) in described(config).items():
        optional = kind is bool
        parser.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            type=lambda text, kind=kind: parsed(text, kind),
            nargs="?" if optional else ("+" if get_origin(kind) is tuple else None),
            const=True if optional else None,
            action=_Joined if get_origin(kind) is tuple else "store",
            default=argparse.SUPPRESS,
            metavar="" if optional else name.split(".")[-1].upper(),
            help=f"{help_text} [{_shown(value_at(config, name))}]".replace("%", "%%"),
        )


class _Joined(argparse.Action):
    """Values of a tuple, whether they came as `256 512` or as `256x512`."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(v for value in values for v in value))


def parsed(text: str, kind: Any) -> Any:
    """A flag's text as a value of a field's type; an error that argparse reports otherwise."""
    if isinstance(kind, UnionType):
        kinds = [k for k in get_args(kind) if k is not type(None)]
        return None if text.lower() == "none" else parsed(text, kinds[0])
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        parts = re.split(r"\s*,\s*" if inner in (str, Path) else "[x, ]+", text)
        return tuple(parsed(part, inner) for part in parts if part)
    if get_origin(kind) is Literal or kind is bool:
        wanted = {str(v).lower(): v for v in (get_args(kind) or (True, False))}
        if text.lower() not in wanted:
            raise argparse.ArgumentTypeError(f"{text!r}; want {' or '.join(wanted)}")
        return wanted[text.lower()]
    return kind(text)


def described(config: Any, prefix: str = "") -> dict[str, tuple[Any, str]]:
    """For each field, by dotted name, its type and its help; those of nested ones come last."""
    own, nested = {}, {}
    hints, comments = get_type_hints(type(config)), _comments(type(config))
    for field in fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if is_dataclass(value):
            nested |= described(value, name + ".")
        else:
            own[name] = (hints[field.name], comments.get(field.name, ""))
    return own | nested


@cache
def _comments(kind: type) -> dict[str, str]:
    """The comment behind each field in the source of a dataclass and of those it extends."""
    sources = [inspect.getsource(one) for one in reversed(kind.__mro__) if is_dataclass(one)]
    found = re.finditer(r"^    (\w+): .*?  # (.+)$", "".join(sources), re.MULTILINE)
    return {match[1]: match[2] for match in found}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def value_at(config: Any, name: str) -> Any:
    """The value of a field by its dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def changed(config: T, values: Mapping[str, Any]) -> T:
    """The dataclass with other values, given by dotted names; KeyError for an unknown name."""
    own = {name: value for name, value in values.items() if "." not in name}
    for name in {name.partition(".")[0] for name in values if "." in name}:
        inner = {k[len(name) + 1 :]: v for k, v in values.items() if k.startswith(name + ".")}
        own[name] = changed(getattr(config, name), inner)
    if unknown := sorted(set(own) - {field.name for field in fields(config)}):
        raise KeyError(f"{type(config).__name__} has no field {unknown[0]}")
    return replace(config, **own)


def as_values(config: Any) -> dict[str, Any]:
    """All values by dotted names, as JSON can hold them."""
    return {name: _plain(value_at(config, name)) for name in described(config)}


def from_values(config: T, values: Mapping[str, Any]) -> T:
    """The inverse of `as_values`, for a dataclass of the same types; KeyError as `changed`.

    Raises TypeError for a value of another type than its field.
    """
    kinds = described(config)
    if unknown := sorted(set(values) - set(kinds)):
        raise KeyError(f"{type(config).__name__} has no field {unknown[0]}")
    return changed(config, {n: _from_json(v, kinds[n][0], n) for n, v in values.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _from_json(value: Any, kind: Any, name: str) -> Any:
    """A value from JSON as one of a field's type."""
    inner, origin = get_args(kind), get_origin(kind)
    plain = {float: int | float, Path: str}.get(kind, kind)
    if isinstance(kind, UnionType):  # with None
        return None if value is None else _from_json(value, inner[0], name)
    if origin is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(kinds) == len(value):
            return tuple(_from_json(v, k, name) for v, k in zip(value, kinds, strict=True))
    elif origin is Literal and value in inner:
        return value
    elif not origin and isinstance(value, plain) and isinstance(value, bool) == (kind is bool):
        return Path(value) if kind is Path else value
    raise TypeError(f"{name} is {value!r}, expected {getattr(kind, '__name__', kind)}")
