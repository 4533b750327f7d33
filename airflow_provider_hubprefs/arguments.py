"""Arguments that may hold addresses: rendered when a task runs, and never stored.

Airflow keeps the values of an operator's template fields and shows them under "Rendered Template". Arguments
that may hold addresses are therefore no template fields; the operator renders them itself, in ``execute``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XComArg

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context


def depend_on(operator: BaseOperator, *values: Any) -> None:
    """Make an operator wait for the tasks whose results it takes, as Airflow does for template fields.

    :param values: arguments as the DAG author gave them.
    """
    for value in values:
        XComArg.apply_upstream_relationship(operator, value)


def reveal(operator: BaseOperator, name: str, context: Context) -> Any:
    """Value of a private argument: templates rendered, results of earlier tasks fetched.

    What comes out of an ``expand`` is data, not the DAG author's text, and is never taken for a template.

    :param operator: whose argument.
    :param name: of the attribute that holds it.
    """
    value = getattr(operator, name)
    if _is_mapped_data(operator, name):
        return value
    if isinstance(value, list | tuple):
        return [
            operator.render_template(item, context) if _may_need_rendering(item) else item for item in value
        ]
    return operator.render_template(value, context)


def reveal_subscriber(operator: BaseOperator, context: Context) -> str:
    """Normalised address in the operator's ``subscriber``.

    :raises ValidationError: it is none; the text says why, without it.
    """
    return normalised_subscriber(reveal(operator, "subscriber", context))


def normalised_subscriber(value: object) -> str:
    """Normalise an address.

    :raises ValidationError: it is none; the text says why, without it.
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
        raise ValidationError(f"{name}: expected a whole number, got {value!r}") from None


def yes_or_no(name: str, value: object) -> bool:
    """Read a switch that may have come through a template as text; ``"False"`` is no.

    :param name: of the argument, for the text.
    :raises ValidationError: neither.
    """
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    said = {"true": True, "false": False}.get(str(value).strip().lower())
    if said is None:
        raise ValidationError(f"{name}: expected True or False, got {value!r}")
    return said


def _is_mapped_data(operator: BaseOperator, name: str) -> bool:
    dag = operator.get_dag()
    defined = dag.task_dict.get(operator.task_id) if dag else None
    partial = getattr(defined, "partial_kwargs", None)
    return partial is not None and name not in partial


def _may_need_rendering(item: Any) -> bool:
    return not isinstance(item, str) or "{{" in item or "{%" in item
