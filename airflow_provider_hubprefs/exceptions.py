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
    """Turn errors of the layers below into Airflow's.

    :raises HubPrefsFailException: credentials, scopes, settings, a request HubSpot calls wrong, rows that
        contradict each other.
    :raises HubPrefsException: everything else of HubSpot's, a source that cannot be read, a place that
        cannot be written.
    """
    from airflow_provider_hubprefs.bulk.report.checkpoint import CheckpointError
    from airflow_provider_hubprefs.bulk.source.errors import ContradictionError, SourceError
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError

    try:
        yield
    except HubSpotError as error:
        kind = HubPrefsFailException if error.permanent else HubPrefsException
        raise kind(str(error), error=error) from error
    except (CheckpointError, ContradictionError) as error:
        raise HubPrefsFailException(str(error), error=error) from error
    except SourceError as error:
        raise HubPrefsException(str(error), error=error) from error
    except OSError as error:
        raise HubPrefsException(
            f"{error.strerror or type(error).__name__}: {error.filename}", error=error
        ) from error
