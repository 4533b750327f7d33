"""What ends a command: exit codes for scripts, and errors of one line."""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn


class ExitCode(IntEnum):
    """See ``EXIT_CODES`` of the definition; 141 where the reader of the answer has left."""

    DONE = 0
    NOT_APPLIED = 1
    USAGE = 2
    CREDENTIALS = 3
    HUBSPOT = 4
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


class CommandError(Exception):
    """Ends a command.

    :param code: the exit code.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


def usage(message: str) -> NoReturn:
    """Refuse what the user typed."""
    raise CommandError(message)


def code_of(error: Exception) -> ExitCode | None:
    """The exit code of an error of the layers below; None: it is none of theirs."""
    from airflow_provider_hubprefs.bulk.report.checkpoint import CheckpointError
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.hubspot import errors as hubspot

    match error:
        case CommandError():
            return error.code
        case SourceError() | CheckpointError() | hubspot.SettingsError() | OSError():
            return ExitCode.USAGE
        case hubspot.ValidationError(status=None, category=None):  # found before anything was sent
            return ExitCode.USAGE
        case hubspot.AuthenticationError() | hubspot.MissingScopesError():
            return ExitCode.CREDENTIALS
        case hubspot.ValidationError() | hubspot.NotFoundError() | hubspot.ConflictError():
            return ExitCode.NOT_APPLIED
        case hubspot.OperationCanceledError():
            return ExitCode.NOT_APPLIED
        case hubspot.HubSpotError():
            return ExitCode.HUBSPOT
    return None
