"""Arguments of operators and sensors: what Airflow rendered becomes what is meant, and addresses stay private.

Each class lists its arguments with a reader for each (``ARGUMENTS``); a task reads all of them before it does anything
else. A template makes text of everything, and native rendering makes numbers and lists of text: a reader takes what can
only mean one thing, and refuses the rest by the argument's name.

Airflow stores the rendered values of an operator's template fields, and shows them under "Rendered Template". A
:class:`PrivateArgument` is a template field like any other (its upstream tasks, ``partial()``, ``expand()``,
``default_args``, Jinja and native rendering work as Airflow does them), but what Airflow reads from it is a
:class:`PrivateValue`, which shows as ``<private>``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[str, Any], Any]
    """Takes an argument's name and what was given; returns what is meant, or raises ValidationError."""

_HIDDEN = "<private>"


class PrivateValue:
    """Holds one value that must not be shown or stored.

    :param value: what the task works with; read it with :func:`value_of`.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        """Airflow stores this text where it would store the value."""
        return _HIDDEN

    def serialize(self) -> str:
        """Airflow calls this where it stores rendered fields and serializes DAGs."""
        return _HIDDEN


class PrivateArgument:
    """An attribute of an operator that Airflow renders, and whose value only the operator reads.

    Airflow reads only what it has to render: a text with Jinja, and results of earlier tasks, also inside a list.
    Everything else is data, and never taken for a template.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._slot = name, f"_private_{name}"

    def __get__(self, operator: Any, owner: type | None = None) -> Any:
        """What Airflow renders: the author's template, or a :class:`PrivateValue`."""
        return self if operator is None else operator.__dict__.get(self._slot)

    def __set__(self, operator: Any, value: Any) -> None:
        """The DAG author's argument comes first; what Airflow rendered from it replaces it, and is data."""
        rendered = operator.__dict__.get(self._slot) is not None
        if not rendered:
            self.refuse_stored_elsewhere(operator, value)
        operator.__dict__[self._slot] = self._kept(value, rendered=rendered)

    def _kept(self, value: Any, *, rendered: bool) -> Any:
        """Hide all but what Airflow has to render."""
        template = isinstance(value, str) and _has_jinja(value) and not rendered
        if value is None or template or isinstance(value, PrivateValue) or _is_reference(value):
            return value
        if isinstance(value, list | tuple) and any(map(_is_reference, value)):
            return [item if _is_reference(item) else PrivateValue(item) for item in value]
        return PrivateValue(value)

    def refuse_stored_elsewhere(self, operator: Any, value: Any) -> None:
        """Refuse addresses that Airflow stores with the DAG or the task group, rather than with the operator."""
        if _is_reference(value):
            given = getattr(
                getattr(value, "_input", None), "value", None
            )  # an argument of a mapped task group
            if isinstance(given, Mapping):
                self.refuse_mapped(given.get(value._key), "expand() of a task group")
        elif value is not None and operator.has_dag() and operator.dag.default_args.get(self._name) is value:
            self.refuse_literal(value, "default_args")

    def refuse_mapped(self, mapped: Any, where: str = "expand()") -> None:
        """The same for what is mapped over."""
        if mapped is not None and not _is_reference(mapped):
            for one in mapped:
                self.refuse_literal(one, where)

    def refuse_literal(self, value: Any, where: str) -> None:
        """Refuse what Airflow would store: everything but a template and results of earlier tasks.

        :raises ValueError: names the argument and what to do instead.
        """
        template = isinstance(value, str) and (_has_jinja(value) or is_absent(value))
        several = isinstance(value, list | tuple) and all(map(_is_reference, value))
        if not (value is None or template or several or _is_reference(value)):
            raise ValueError(
                f"{self._name}: an address in {where} would be stored with the DAG, in Airflow's database. Give an "
                "earlier task's result or a template instead; for many subscribers, source= is private as well"
            )


class PrivateParameters(PrivateArgument):
    """An argument whose templates and results of earlier tasks may also be the values of a list or a mapping.

    Parameters of mapped tasks, which Airflow stores, may be anything but addresses.
    """

    def _kept(self, value: Any, *, rendered: bool) -> Any:
        if isinstance(value, Mapping) and not rendered:
            return {
                name: super(PrivateParameters, self)._kept(one, rendered=False) for name, one in value.items()
            }
        if isinstance(value, list | tuple) and not rendered:
            return [super(PrivateParameters, self)._kept(one, rendered=False) for one in value]
        return super()._kept(value, rendered=rendered)

    def refuse_literal(self, value: Any, where: str) -> None:
        """Refuse an address; see :meth:`PrivateArgument.refuse_literal`."""
        several = (
            value.values()
            if isinstance(value, Mapping)
            else value
            if isinstance(value, list | tuple)
            else [value]
        )
        for one in several:
            if isinstance(one, str) and "@" in one:
                super().refuse_literal(one, where)


def value_of(argument: Any) -> Any:
    """The value of a private argument, once Airflow has rendered it; None also for a template that was empty.

    :param argument: what the operator's attribute gives.
    """
    value = argument.value if isinstance(argument, PrivateValue) else argument
    if isinstance(value, list):
        return [item.value if isinstance(item, PrivateValue) else item for item in value]
    if isinstance(value, dict):
        return {name: item.value if isinstance(item, PrivateValue) else item for name, item in value.items()}
    return None if is_absent(value) else value


def normalised_subscriber(value: object) -> str:
    """Normalise an address.

    :raises ValidationError: it is not an address; the text says why, without it.
    """
    from airflow_provider_hubprefs.bulk.source.addresses import AddressError, normalise
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    if not isinstance(value, str):
        raise ValidationError(f"subscriber: expected an e-mail address, got {_kind(value)}")
    try:
        return normalise(value)
    except AddressError as error:
        raise ValidationError(
            f"subscriber: expected an e-mail address such as name@example.com; {error}"
        ) from None


def is_absent(value: object) -> bool:
    """Whether an argument was left out: None, or the text that a template makes of None or of nothing."""
    return value is None or (isinstance(value, str) and value.strip(" \r\n") in {"", "None"})


def optional(read: Reader, default: Any = None) -> Reader:
    """Make a reader that takes an argument that was left out, as :func:`is_absent` says, for the default."""
    return lambda name, value: default if is_absent(value) else read(name, value)


def text(name: str, value: object) -> str:
    """Read a text.

    :raises ValidationError: no text, or an empty one.
    """
    if isinstance(value, str) and not is_absent(value):
        return value
    hint = (
        "" if is_absent(value) else "; native rendering reads text as numbers and lists, unless it is quoted"
    )
    raise _refused(name, "a text", value, hint)


def column(name: str, value: object) -> str:
    """Read a column's name. Native rendering makes a number of ``2026``.

    :raises ValidationError: no name.
    """
    return str(value) if type(value) is int else text(name, value)


def whole_number(name: str, value: object, *, least: float = -math.inf) -> int:
    """Read a number that may have come through a template as text, or through JSON as ``1.0``.

    :param name: of the argument, for the text.
    :param least: the smallest that can work.
    :raises ValidationError: no whole number, or a smaller one.
    """
    of_at_least = "" if least == -math.inf else f" of at least {least:g}"
    try:
        found = int(str(value).strip().removesuffix(".0"))
    except ValueError:
        found = None
    if found is None or found < least:
        raise _refused(name, f"a whole number{of_at_least}", value)
    return found


count = partial(whole_number, least=0)
positive = partial(whole_number, least=1)


def number(name: str, value: object) -> float:
    """Read a number that may have come through a template as text.

    :raises ValidationError: none.
    """
    found = _number(value)
    if found is None:
        raise _refused(name, "a number", value)
    return found


def yes_or_no(name: str, value: object) -> bool:
    """Read a switch that may have come through a template as text; ``"False"`` is no.

    :param name: of the argument, for the text.
    :raises ValidationError: neither.
    """
    said = {"true": True, "false": False}.get(str(value).strip().lower())
    if said is None:
        raise _refused(name, "True or False", value)
    return said


def seconds(name: str, value: object, *, least: float | None = None, most: float = 1e10) -> float:
    """Read a duration: a ``timedelta``, or seconds as a number or as text.

    :param name: of the argument, for the text.
    :param least: the shortest; by default more than 0.
    :param most: the longest.
    :raises ValidationError: not a time to wait.
    """
    found = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    if found is None or not (1e-9 if least is None else least) <= found <= most:
        limits = "more than 0" if least is None else f"from {least:g} to {most:g}"
        raise _refused(name, f"seconds, {limits}, or a timedelta", value)
    return found


def choice(*choices: str) -> Reader:
    """Make a reader of one of some words.

    :raises ValidationError: from the reader: none of them.
    """

    def read(name: str, value: object) -> str:
        if value not in choices:
            raise _refused(name, " or ".join(map(repr, choices)), value)
        return str(value)

    return read


def paths(name: str, value: object) -> Any:
    """Read a path as text or object, or an iterable of them.

    :raises ValidationError: something else.
    """
    if _is_path(value):
        return value
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    found = list(value) if several else []  # type: ignore[call-overload]
    if not found or not all(map(_is_path, found)):
        raise _refused(name, "a path, a glob, a folder or a list of them", found or value)
    return found


def path(name: str, value: object) -> Any:
    """Read one path, as text or object.

    :raises ValidationError: something else.
    """
    if not _is_path(value):
        raise _refused(name, "a path", value)
    return value


def _is_path(value: object) -> bool:
    return hasattr(value, "open") or (isinstance(value, str) and not is_absent(value) and "\0" not in value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _refused(name: str, expected: str, value: object, hint: str = "") -> Exception:
    """Make the error; an address in the wrong argument is masked in it."""
    from airflow_provider_hubprefs.hubspot.errors import ValidationError
    from airflow_provider_hubprefs.hubspot.privacy import shown

    got = "nothing" if is_absent(value) else shown(value)[:60]
    return ValidationError(f"{name}: expected {expected}, got {got}{hint}")


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _is_reference(value: Any) -> bool:
    """Whether a value stands for an earlier task's result, or for an argument of a mapped task group."""
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def _has_jinja(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text
