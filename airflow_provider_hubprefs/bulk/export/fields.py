"""What an export has of each row, and under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from airflow_provider_hubprefs.hubspot.api.times import text_of
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

T = TypeVar("T")

Cell = str | int | bool | None
"""A time is text here: ISO 8601, UTC."""


class Field(NamedTuple):
    """One column of an export.

    :param name: of the field, and of its column unless the author names that otherwise.
    :param key: whether it is one of those that make a row what it is: a table has one row for each.
    """

    name: str
    kind: Literal["text", "whole", "flag", "time"] = "text"
    key: bool = False


class Column(NamedTuple):
    """A field that is written.

    :param at: its position among the fields.
    :param name: of the column.
    """

    at: int
    name: str
    field: Field


class TargetError(HubSpotError):
    """A file or a table cannot be written. One line, without an address.

    :param permanent: whether a person has to change something first.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Target(Protocol):
    """Where an export goes. It has all rows, or what was there before."""

    def check(self) -> None:
        """Find out whether it can be written, and change nothing that is there.

        :raises TargetError: it cannot.
        """

    def write(self, rows: Iterable[Sequence[Cell]], *, whole: bool = True) -> int:
        """Write all rows, of cells in the order of the fields; writing them again changes nothing. Return their number.

        :param whole: whether they are all that there are: otherwise no row is deleted because it is not among them.
        :raises TargetError: it cannot be written; what was there before still is.
        """


STATUSES = (
    Field("subscriber", key=True),
    Field("subscription_id", "whole", key=True),
    Field("subscription_name"),
    Field("status"),
    Field("legal_basis"),
    Field("legal_basis_explanation"),
    Field("source"),
    Field("updated_at", "time"),
)
"""One row for each subscriber and subscription."""

OPTED_OUT = Field("opted_out", "flag")
"""Whether the subscriber has opted out of the whole portal, or of the brand."""

OPT_OUTS = (
    Field("contact_id", "whole", key=True),
    Field("subscriber"),
    Field("opted_out_at", "time"),
    Field("app"),
)

DEFINITIONS = (
    Field("subscription_id", "whole", key=True),
    Field("language", key=True),
    Field("name"),
    Field("description"),
    Field("is_active", "flag"),
    Field("is_default", "flag"),
    Field("is_internal", "flag"),
    Field("purpose"),
    Field("communication_method"),
    Field("business_unit_id", "whole"),
    Field("created_at", "time"),
    Field("updated_at", "time"),
)
"""One row for each subscription and language; of the subscription's own language it is empty."""

LINKS = (
    Field("subscriber", key=True),
    Field("manage_preferences_url"),
    Field("unsubscribe_all_url"),
    Field("unsubscribe_single_url"),
)


def columns_of(fields: Sequence[Field], chosen: object, *, keys: bool) -> list[Column]:
    """Return the columns to write.

    :param chosen: None: all fields, under their own names. Or names of fields; or a mapping of them to columns.
    :param keys: whether the key is needed.
    :raises ValidationError: a name is no field's, a column's name is used twice, or the key is not whole.
    """
    names = chosen or [one.name for one in fields]
    if isinstance(names, str) or not isinstance(names, Mapping | Sequence):
        raise ValidationError(f"columns: expected names of fields, or a mapping of them, got {shown(chosen)}")
    found = {one.name: (at, one) for at, one in enumerate(fields)}
    pairs: list[tuple[Any, Any]] = (
        list(names.items()) if isinstance(names, Mapping) else [(name, name) for name in names]
    )
    wrong = [field for field, name in pairs if field not in found or not name or not isinstance(name, str)]
    if wrong:
        raise ValidationError(f"columns: expected some of {', '.join(found)}, got {shown(wrong[0])}")
    columns = [Column(found[field][0], name, found[field][1]) for field, name in pairs]
    missing = [one.name for one in fields if keys and one.key and one.name not in dict(pairs)]
    if missing or len({one.name.casefold() for one in columns}) < len(columns):
        what = f"{', '.join(missing)} among them: a table is updated by it" if missing else "each name once"
        raise ValidationError(f"columns: expected {what}, got {', '.join(one.name for one in columns)}")
    return columns


def in_parts(rows: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield rows some at a time."""
    left = iter(rows)
    while some := list(islice(left, most)):
        yield some


def rows_of_definition(one: Any) -> Iterator[list[Any]]:
    """The rows of one subscription: its own, and one for each translation."""
    rest = [getattr(one, field.name) for field in DEFINITIONS[4:10]]
    own = [one.id, "", one.name, one.description, *rest, time_cell(one.created_at), time_cell(one.updated_at)]
    yield own
    for other in one.translations or ():
        times = [time_cell(other.created_at), time_cell(other.updated_at)]
        yield [one.id, other.language_code or "", other.name, other.description, *rest, *times]


def time_cell(time: datetime | None) -> str | None:
    """A time of HubSpot's."""
    return None if time is None else text_of(time)
