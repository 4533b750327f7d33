"""Exceptions of operators and sensors.

The layers below raise plain exceptions, so that they need no Airflow, and the hook lets them pass. Operators and
sensors raise :class:`HubPrefsException`, which Airflow's ``soft_fail`` and retries understand; its ``error`` holds the
original with HTTP status, category and correlation id.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.compat import AirflowException, AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Iterator


class HubPrefsException(AirflowException):
    """A task failed; a retry may help.

    :param message: without an address.
    :param error: HubSpot's or the source's error, where that is the reason.
    """

    def __init__(self, message: str, *, error: Exception | None = None) -> None:
        super().__init__(message)
        self.error = error


class HubPrefsFailException(HubPrefsException, AirflowFailException):
    """A task failed and no retry can help: Airflow fails it at once."""


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn errors of the layers below into Airflow's, each of one line and without what it was raised from.

    ``error`` of the exception keeps the original.

    :raises HubPrefsFailException: no retry helps: credentials, scopes, settings, arguments, a request HubSpot calls
        wrong, a source's format or columns, rows that contradict each other.
    :raises HubPrefsException: everything else of HubSpot's, a source that is missing or cannot be read now, a place
        that cannot be written. Against the limit of a day only a retry after midnight helps, and the text says so.
    """
    from airflow_provider_hubprefs.bulk.report.checkpoint import CheckpointError
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError
    from airflow_provider_hubprefs.hubspot.privacy import scrub

    try:
        yield
    except (HubSpotError, CheckpointError, SourceError) as error:
        kind = HubPrefsFailException if getattr(error, "permanent", True) else HubPrefsException
        raise kind(str(error), error=error) from None
    except OSError as error:
        where = f": {'/'.join(map(scrub, str(error.filename).split('/')))}" if error.filename else ""
        raise HubPrefsException(
            f"{error.strerror or scrub(str(error)) or type(error).__name__}{where}", error=error
        ) from None
