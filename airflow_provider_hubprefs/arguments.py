"""Arguments that may hold addresses: ordinary template fields whose values Airflow can use, but neither store nor show.

Airflow stores the rendered values of an operator's template fields, and shows them under "Rendered Template". A
:class:`PrivateArgument` is a template field like any other (its upstream tasks, ``partial()``, ``expand()``,
``default_args``, Jinja and native rendering work as Airflow does them), but what Airflow reads from it is a
:class:`PrivateValue`, which shows as ``<private>``.
"""

from __future__ import annotations

from typing import Any

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
        self._slot = f"_private_{name}"

    def __get__(self, operator: Any, owner: type | None = None) -> Any:
        """What Airflow renders: the author's template, or a :class:`PrivateValue`."""
        return self if operator is None else operator.__dict__.get(self._slot)

    def __set__(self, operator: Any, value: Any) -> None:
        """The DAG author's argument comes first; what Airflow rendered from it replaces it, and is data."""
        rendered = operator.__dict__.get(self._slot) is not None
        template = isinstance(value, str) and _has_jinja(value) and not rendered
        if value is None or template or isinstance(value, PrivateValue) or _is_reference(value):
            kept = value
        elif isinstance(value, list | tuple) and any(map(_is_reference, value)):
            kept = [item if _is_reference(item) else PrivateValue(item) for item in value]
        else:
            kept = PrivateValue(value)
        operator.__dict__[self._slot] = kept


def value_of(argument: Any) -> Any:
    """The value of a private argument, once Airflow has rendered it.

    :param argument: what the operator's attribute gives.
    """
    value = argument.value if isinstance(argument, PrivateValue) else argument
    if isinstance(value, list):
        return [item.value if isinstance(item, PrivateValue) else item for item in value]
    return value


def normalised_subscriber(value: object) -> str:
    """Normalise an address.

    :raises ValidationError: it is not an address; the text says why, without it.
    """
    from airflow_provider_hubprefs.bulk.source.addresses import AddressError, normalise
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    if not isinstance(value, str):
        raise ValidationError(f"subscriber: expected an e-mail address, got a {type(value).__name__}")
    try:
        return normalise(value)
    except AddressError as error:
        raise ValidationError(
            f"subscriber: expected an e-mail address such as name@example.com; {error}"
        ) from None


def whole_number(name: str, value: object) -> int:
    """Read a number that may have come through a template as text.

    :param name: of the argument, for the text.
    :raises ValidationError: no whole number.
    """
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    try:
        return int(str(value))
    except ValueError:
        raise ValidationError(f"{name}: expected a whole number, got {_shown(value)}") from None


def yes_or_no(name: str, value: object) -> bool:
    """Read a switch that may have come through a template as text; ``"False"`` is no.

    :param name: of the argument, for the text.
    :raises ValidationError: neither.
    """
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    said = {"true": True, "false": False}.get(str(value).strip().lower())
    if said is None:
        raise ValidationError(f"{name}: expected True or False, got {_shown(value)}")
    return said


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a time to wait.

    :param name: of the argument, for the text.
    :raises ValidationError: not a number of more than 0.
    """
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValidationError(f"{name}: expected seconds, more than 0, got {_shown(value)}")


def check_choice(name: str, value: object, *choices: str) -> None:
    """Refuse what is not one of the choices.

    :param name: of the argument, for the text.
    :raises ValidationError: none of them.
    """
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    if value not in choices:
        raise ValidationError(f"{name}: expected {' or '.join(map(repr, choices))}, got {_shown(value)}")


def _is_reference(value: Any) -> bool:
    """Whether a value stands for an earlier task's result, or for an argument of a mapped task group."""
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def _has_jinja(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def _shown(value: object) -> str:
    """A value for an error text: addresses in the wrong argument are masked."""
    from airflow_provider_hubprefs.hubspot.privacy import shown

    return shown(value)
