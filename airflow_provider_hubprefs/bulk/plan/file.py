"""A plan's file: JSON Lines, of which the first is a header. It holds addresses, and its owner alone can read it.

Changes come in an order in which they need the fewest requests: opt-outs from everything, then single subscriptions;
rows that are refused come last. Equal rows, rules and statuses give an equal body, and an equal checksum.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.plan.actions import CHANGES
from airflow_provider_hubprefs.bulk.plan.guards import Guard, check_guards
from airflow_provider_hubprefs.bulk.plan.lines import PlanCounts, PlanLine, line_of
from airflow_provider_hubprefs.bulk.report.state import now
from airflow_provider_hubprefs.bulk.source.errors import SourceError, UnavailableError
from airflow_provider_hubprefs.bulk.source.kept import KeptRows
from airflow_provider_hubprefs.bulk.source.passed import CHANGED_WHILE_READ, SourceChangedError
from airflow_provider_hubprefs.bulk.source.row import CellError, Row
from airflow_provider_hubprefs.bulk.source.stored import shown
from airflow_provider_hubprefs.hubspot.privacy import scrub
from airflow_provider_hubprefs.storage import lines_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.plan.actions import Rules
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome
    from airflow_provider_hubprefs.bulk.source.row import Wanted
    from airflow_provider_hubprefs.storage import Path

FORMAT = 1
KIND = "hubprefs plan"
NAME = "plan.jsonl"
"""Of the file in its run's folder."""

_AGAIN = "Make a new plan"
_MOVE = ("subscription_id", "before", "status")
_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode_line = msgspec.json.Decoder(PlanLine).decode


class PlanError(SourceError):
    """A file is no plan that can be applied. Nothing was written."""


class PlanHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is about, and what it comes to.

    :param portal: HubSpot's id; None: HubSpot does not show it.
    :param brand: whose opt-outs are meant; None: the portal's.
    :param source: digest of the source, where there is one.
    :param arguments: those that decided what was read, and how. No address.
    :param outcomes: rows of the source by outcome; *changed* are those to change.
    :param actions: rows by action.
    :param moves: changes by subscription (None: everything), status ``before`` and wanted ``status``: so many ``rows``.
    :param names: of the subscriptions among the changes, by id.
    :param refused: rows that are refused, by category.
    :param checksum: SHA-256 of all lines after the header.
    :param header_checksum: of the header, while this is empty.
    """

    kind: str = KIND
    format: int = FORMAT
    created_at: str
    portal: int | None
    api_version: str
    brand: int | None = None
    source: str | None = None
    arguments: dict[str, Any]
    outcomes: dict[str, int]
    actions: dict[str, int]
    moves: list[dict[str, Any]]
    names: dict[str, str] = {}
    refused: dict[str, int]
    guards: list[Guard]
    checksum: str
    header_checksum: str = ""

    @property
    def changes(self) -> int:
        """Number of rows to change."""
        return sum(self.actions.get(name, 0) for name in CHANGES)

    @property
    def rows(self) -> int:
        """Number of rows of the source."""
        return sum(self.outcomes.values())


class PlanRecorder:
    """Writes the plan of a comparison; see :class:`~.recorder.RowRecorder`.

    :param folder: of the run.
    :param rules: of the comparison.
    :param about: fields of the header that no row decides.
    :param names: returns those of the portal's subscriptions, by id, as far as they are known.
    :param previous_rows: see :func:`~.guards.check_guards`.
    """

    kind = "plan"

    def __init__(
        self,
        folder: RunFolder,
        rules: Rules,
        *,
        about: Mapping[str, Any],
        names: Callable[[], Mapping[int, str]] = dict,
        brand: int | None = None,
        previous_rows: int | None = None,
    ) -> None:
        self.path: Path = folder.path / NAME
        self.header: PlanHeader | None = None
        """Of the plan, once it is written."""
        self._folder = folder
        self._rules = rules
        self._about = about
        self._names = names
        self._brand = brand
        self._previous_rows = previous_rows

    def lines(self, outcomes: Sequence[Outcome]) -> list[str]:
        """See :class:`~.recorder.RowRecorder`."""
        found = (line_of(one, self._rules, brand=self._brand) for one in outcomes)
        return [_encode(line).decode() for line in found if line is not None]

    def finish(self, lines: Iterator[bytes], counts: Mapping[str, int], *, complete: bool) -> None:
        """See :class:`~.recorder.RowRecorder`. Half a plan is none."""
        if not complete:
            return
        found = PlanCounts()

        def counted() -> Iterator[bytes]:
            for line in lines:
                found.add(_decode_line(line))
                yield line

        kept = KeptRows(counted())
        digest = sha256()
        for line in _in_order(kept):
            digest.update(line)
        rows = sum(counts.values())
        moved = {number for number, *_ in found.moves}
        header = PlanHeader(
            created_at=now(),
            brand=self._brand,
            **self._about,
            outcomes={name: number for name, number in sorted(counts.items()) if number},
            actions={**dict(sorted(found.actions.items())), "unchanged": counts.get("unchanged", 0)},
            moves=[
                {**dict(zip(_MOVE, key, strict=True)), "rows": found.moves[key]}
                for key in sorted(found.moves, key=lambda key: (key[0] or 0, *key[1:]))
            ],
            names={str(number): scrub(name) for number, name in self._names().items() if number in moved},
            refused=dict(sorted(found.refused.items())),
            guards=check_guards(found, self._rules, rows=rows, previous_rows=self._previous_rows),
            checksum=digest.hexdigest(),
        )
        header = msgspec.structs.replace(header, header_checksum=_checksum_of(header))

        def content() -> Iterator[bytes]:
            yield _encode(header) + b"\n"
            yield from _in_order(kept)

        self._folder.write(self.path, content())
        self.header = header

    def reported(self) -> dict[str, Any]:
        """See :class:`~.recorder.RowRecorder`: where the plan is, and what it comes to."""
        return {"plan": None if self.header is None else shown_plan(self.header, self.path)}


def shown_plan(header: PlanHeader, path: Path) -> dict[str, Any]:
    """Return what a run's report says of a plan: no address."""
    moved = ("id", "from", "to", "rows")
    return {
        "path": str(path),
        "checksum": header.checksum,
        "created_at": header.created_at,
        "changes": header.changes,
        "rows": header.rows,
        "actions": header.actions,
        "subscriptions": [
            {**dict(zip(moved, one.values(), strict=True)), "name": header.names.get(str(one[_MOVE[0]]))}
            for one in header.moves
        ],
        "guards": msgspec.to_builtins(header.guards),
    }


def _in_order(lines: KeptRows) -> Iterator[bytes]:
    for part in range(3):
        yield from (line for line in lines if _part_of(line) == part)


_BEFORE = len(b'{"action":"')


def _part_of(line: bytes) -> int:
    return {b"opt_out": 0, b"refused": 2}.get(line[_BEFORE : line.index(b'"', _BEFORE)], 1)


def _checksum_of(header: PlanHeader) -> str:
    return sha256(_encode(msgspec.structs.replace(header, header_checksum=""))).hexdigest()


class PlanFile:
    """A plan that is to be applied: read to its end once, before its first row is used.

    :param path: of the file.
    :raises PlanError: it is no plan, of another format, or not as it was made.
    :raises SourceError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = _lines_of(path)
        self.header = _header_of(next(lines, b""), shown(path.name))
        digest = sha256()
        for line in lines:
            digest.update(line)
        if digest.hexdigest() != self.header.checksum:
            raise PlanError(
                f"plan {shown(path.name)}: was edited or cut short since it was made (checksum). {_AGAIN}; to leave "
                "rows out, correct its source. Nothing was written"
            )

    def __len__(self) -> int:
        """Return how many rows are to change."""
        return self.header.changes

    def check_portal(self, portal: int | None) -> None:
        """Refuse a plan of another portal.

        :param portal: that would be written to; None: HubSpot does not show it.
        :raises PlanError: it is not, or not for certain, the plan's.
        """
        if portal == self.header.portal:
            return
        of, now = (f"portal {one}" if one else "an unknown portal" for one in (self.header.portal, portal))
        raise PlanError(
            f"plan {shown(self.path.name)}: is of {of}, and the connection of {now}. {_AGAIN} with this connection, or "
            "apply it with the other. Nothing was written"
        )

    def rows(self, check: Callable[[Wanted], None] | None = None) -> Iterator[Row]:
        """Yield the rows to change, numbered as the lines of the file.

        :param check: looks at what each row wants; a row for which it raises CellError is invalid.
        :raises SourceChangedError: the file is another one than it was at first.
        """
        digest = sha256()
        lines = _lines_of(self.path)
        next(lines, b"")
        for number, line in enumerate(lines, start=2):
            digest.update(line)
            try:
                planned = _decode_line(line)
            except msgspec.MsgspecError:
                raise SourceChangedError(CHANGED_WHILE_READ) from None
            if planned.action not in CHANGES:
                continue
            row = planned.as_row(number)
            try:
                if check is not None and row.wanted is not None:
                    check(row.wanted)
            except CellError as error:
                row = msgspec.structs.replace(
                    row, problem="invalid", category=error.category, detail=str(error)
                )
            yield row
        if digest.hexdigest() != self.header.checksum:
            raise SourceChangedError(CHANGED_WHILE_READ)


def read_header(path: Path) -> PlanHeader:
    """Read what a plan is about, without its rows.

    :raises SourceError: see :class:`PlanFile`.
    """
    return _header_of(next(_lines_of(path), b""), shown(path.name))


def _header_of(line: bytes, name: str) -> PlanHeader:
    try:
        found = msgspec.json.decode(line)
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise PlanError(f"plan {name}: is no plan. Expected a file {NAME} that a plan was written to")
    if found.get("format") != FORMAT:
        raise PlanError(
            f"plan {name}: is of format {str(found.get('format'))[:20]}, and this release reads format {FORMAT}. "
            f"{_AGAIN} with this release. Nothing was written"
        )
    try:
        header = msgspec.convert(found, PlanHeader)
    except msgspec.ValidationError:
        header = None
    if header is None or _checksum_of(header) != header.header_checksum:
        raise PlanError(
            f"plan {name}: its header was edited since it was made (checksum). {_AGAIN}. Nothing was written"
        )
    return header


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        yield from lines_in(path)
    except FileNotFoundError:
        raise UnavailableError(
            f"plan {shown(path.name)}: is not there. Was it made, and by a run whose output is kept?"
        ) from None
