"""What a reason means in plain words, and what to do: why rows were not applied, and why a run ended early."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """About one reason.

    :param means: what happened, in a sentence.
    :param do: what to do about it, in a sentence.
    """

    means: str
    do: str


_FIX = "Correct these rows in the source, and run it again: writing twice does no harm."
_AGAIN = "Clear the task: the run resumes where it stopped, and nothing is lost."
_LOG = "It is named below, or in the task's log. Correct it, and clear the task: the run resumes where it stopped."
_SOURCE = (
    "Correct it, and clear the task. Where it had sent rows before, a corrected source is another one: set "
    'on_changed_source="restart".'
)
_WAIT_LONGER = "Clear the task: it asks HubSpot again. If this happens often, raise the operator's timeout."
_SUPPORT = "Clear the task. If it happens again, give HubSpot's support the correlation id of a dead letter."

_BY_CATEGORY = {
    # what the source says
    "INVALID_ADDRESS": Advice(
        "This is not an e-mail address.",
        f"The dead letter says what is wrong, and which may be meant. {_FIX}",
    ),
    "INVALID_STATUS": Advice("The status of the row is empty or unknown.", f"See status_values. {_FIX}"),
    "INVALID_SUBSCRIPTION": Advice(
        "The row's subscription is not an active one of the portal.",
        f"HubSpot's settings, or get_definitions(), list the ids there are. {_FIX}",
    ),
    "INVALID_TIME": Advice("The time of the row cannot be read, or lies in the future.", _FIX),
    "INVALID_LEGAL_BASIS": Advice("The legal basis is missing or unknown.", _FIX),
    "CONTRADICTED_BY_INVALID_ROW": Advice(
        "Another row of this subscriber cannot be read, and may be an opt-out.",
        "Correct the other row, which the dead letter names, and run it again.",
    ),
    # what guards of this package decide
    "RESUBSCRIBE_NOT_ALLOWED": Advice(
        "The subscriber has unsubscribed before. Nothing was written.",
        "Leave it so. Only with a new consent: allow_resubscribe=True and a legal basis.",
    ),
    "RESUBSCRIBED_BY_RACE": Advice(
        "The subscriber unsubscribed while the row was written, which resubscribed them.",
        "Rejected: this was undone at once. Unconfirmed: unsubscribe them by hand in HubSpot.",
    ),
    "STATUS_UNKNOWN": Advice("HubSpot did not show the actual status, so nothing was written.", _AGAIN),
    "LEGAL_BASIS_MISSING": Advice(
        "The row would subscribe, and says no legal basis.",
        "Give the row one, or one for all rows (legal_basis). Without a consent, leave it out.",
    ),
    # rules by which HubSpot's own status counts more: nothing is wrong
    "OPTED_OUT_IN_HUBSPOT": Advice(
        "The subscriber has opted out in HubSpot, and that counts more. This is the rule, not an error.",
        "Nothing; the source may take it over. Only with a new consent: allow_resubscribe=True and a legal basis.",
    ),
    "NEWER_IN_HUBSPOT": Advice(
        "HubSpot's status is newer than the row, and the newer one counts. This is the rule, not an error.",
        'Nothing; the source may take it over. If the source shall count: on_newer_in_hubspot="overwrite".',
    ),
    "STATED_IN_HUBSPOT": Advice(
        "The row wants no status, and HubSpot has one, which its API cannot take away. This is no error.",
        "Nothing; the source may take HubSpot's status over.",
    ),
    "CHANGED_IN_HUBSPOT": Advice(
        "HubSpot's status has changed since the plan was made, so the row was left as it is. This is no error.",
        "Nothing; the next plan compares it again.",
    ),
    # what HubSpot has not confirmed
    "NOT_SEEN": Advice("HubSpot says it is done, and reading it back did not show it.", _SUPPORT),
    "NOT_IN_ANSWER": Advice("HubSpot's answer says nothing about this subscriber.", _SUPPORT),
    "OPERATION_": Advice("HubSpot accepted the row and had not finished with it.", _WAIT_LONGER),
    # what HubSpot says
    "CANCELED": Advice("HubSpot canceled the operation.", _SUPPORT),
    "VALIDATION_ERROR": Advice(
        "HubSpot calls the row wrong: an address it does not accept, or a status it does not allow.",
        "HubSpot's message is in the dead letter. Correct the row, or leave it out.",
    ),
    "INVALID_EMAIL": Advice("HubSpot does not accept this address.", _FIX),
    "BLOCKED": Advice("HubSpot blocks this address.", "Look it up in HubSpot; leave it out of the source."),
    "OBJECT_NOT_FOUND": Advice(
        "HubSpot does not know this subscriber or subscription.", "Look both up in HubSpot. " + _FIX
    ),
    "CONFLICT": Advice("The change contradicts what HubSpot has.", "Look the subscriber up in HubSpot."),
    "MISSING_SCOPES": Advice(
        "The token may not do this.", "Grant the app the scope that the message names, and clear the task."
    ),
    "INTERNAL_ERROR": Advice("HubSpot failed at this row.", _SUPPORT),
    "no reason given": Advice("HubSpot refused the row and gave no reason.", _SUPPORT),
}
_OTHER_CATEGORY = Advice(
    "HubSpot's own word; this version of the provider has no description of it.",
    "HubSpot's message is in the dead letter.",
)

_BY_ERROR = {
    # the connection
    "SettingsError": Advice("A setting of the connection, or an argument, cannot work.", _LOG),
    "AuthenticationError": Advice(
        "HubSpot does not accept the token.", f"Put a valid one into the connection. {_AGAIN}"
    ),
    "MissingScopesError": Advice("The token lacks a scope.", f"Grant the app what the log names. {_AGAIN}"),
    # what is asked of HubSpot
    "ValidationError": Advice("HubSpot, or a guard of this package, refused the run as a whole.", _LOG),
    "NotFoundError": Advice("HubSpot does not know what was asked for.", _LOG),
    "ConflictError": Advice("The request contradicts what HubSpot has.", _LOG),
    "OperationCanceledError": Advice("HubSpot canceled the operation.", _AGAIN),
    # limits
    "DailyLimitError": Advice(
        "The account's requests of this day are used up.",
        f"They return at midnight in the account's time zone. After that: {_AGAIN[0].lower()}{_AGAIN[1:]}",
    ),
    "BudgetError": Advice(
        "The account cannot afford the run, or the rest of it, today.",
        f"The log says how many requests it needs. Tomorrow, or with a larger limit: {_AGAIN[0].lower()}{_AGAIN[1:]}",
    ),
    "BurstLimitError": Advice("Other programs use up what the account may send in 10 seconds.", _AGAIN),
    "BudgetWaitError": Advice("The account's budget had no request left in time.", _AGAIN),
    "LockedError": Advice("HubSpot was busy changing the same data for too long.", _AGAIN),
    "MigratingError": Advice("HubSpot is moving the account between data centres.", f"Wait for it. {_AGAIN}"),
    # the network, and HubSpot's health
    "ServerError": Advice("HubSpot failed, also after retries.", f"See status.hubspot.com. {_AGAIN}"),
    "ConnectionFailedError": Advice("No answer from HubSpot: the network, a proxy or TLS.", _AGAIN),
    "ForeignAnswerError": Advice("A proxy or firewall answered in HubSpot's place.", _LOG),
    "MalformedAnswerError": Advice("HubSpot's answer could not be read.", _AGAIN),
    "StaleReadingError": Advice("HubSpot was too slow: what it showed was out of date.", _AGAIN),
    "HubSpotError": Advice("HubSpot answered with an error.", _LOG),
    "StoreError": Advice("The store of the shared budget did not answer.", _LOG),
    # the source
    "SourceError": Advice("The source cannot be read, or not to its end.", _SOURCE),
    "UnavailableError": Advice(
        "The source is missing, or its store fails.", f"When it is there: {_AGAIN[0].lower()}{_AGAIN[1:]}"
    ),
    "EmptyFileError": Advice("A file of the source is empty.", "Deliver it again, and clear the task."),
    "ParquetError": Advice("A file is a Parquet file where lines were expected.", _SOURCE),
    "ContradictionError": Advice(
        "Rows contradict each other. Nothing was written.", "Correct the source, or set on_conflict."
    ),
    "SourceChangedError": Advice(
        "The source changed while it was read.", "Run it again when nothing writes to the source."
    ),
    # plans and exports
    "GuardError": Advice("A guard stopped the plan. Nothing was written.", "Do as the sentence below says."),
    "PlanError": Advice(
        "The file is no plan that can be applied here. Nothing was written.", "Make a new plan."
    ),
    "TargetError": Advice(
        "The export's file or table cannot be written. It has what it had before.",
        "Do as the sentence below says.",
    ),
    # the run
    "CheckpointError": Advice(
        "What the run would resume from is missing, or does not fit.", "Do as the sentence below says."
    ),
    "SupersededError": Advice("A later try of this run has begun.", "Look at the later try."),
    "ConservationError": Advice(
        "Rows and outcomes do not add up.", "This is a defect of this provider: please report it."
    ),
    "StoppedError": Advice("The task was stopped.", _AGAIN),
    "KeyboardInterrupt": Advice("The task was stopped.", _AGAIN),
    "SystemExit": Advice("The task was stopped.", _AGAIN),
    "AirflowTaskTerminated": Advice("The task was stopped.", _AGAIN),
    "AirflowTaskTimeout": Advice("The task ran longer than its execution_timeout.", _AGAIN),
    "OSError": Advice("A file could not be read or written.", _LOG),
    "PermissionError": Advice("A file may not be read or written.", _LOG),
    "FileNotFoundError": Advice("A file is missing.", _LOG),
}
_OTHER_ERROR = Advice("The task ended with an error.", _LOG)


def advice_on(category: str, *, pending: bool = False) -> Advice:
    """Return what the category of a row that was not applied means; of an unknown one, in general words.

    :param pending: whether HubSpot, or the run, may still finish with it.
    """
    if pending:
        return Advice("HubSpot has not finished with it.", "Nothing, for now: the run asks HubSpot again.")
    if category.isdecimal():
        return Advice(f"HubSpot answered {category} to this row.", _OTHER_CATEGORY.do)
    known = "OPERATION_" if category.startswith("OPERATION_") else category
    return _BY_CATEGORY.get(known, _OTHER_CATEGORY)


def advice_on_end(because: str | None) -> Advice:
    """Return why a run ended early, and what to do.

    :param because: ``incomplete_because`` of its report: the name of an error's class, or a sentence.
    """
    if because and " " in because:
        return Advice(because[0].upper() + because[1:], _AGAIN)
    return _BY_ERROR.get(because or "", _OTHER_ERROR)
