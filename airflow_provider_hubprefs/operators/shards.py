"""A run over a huge file, in as many tasks as there are workers: split, map over the shards, merge what they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_hubprefs.exceptions import airflow_errors
from airflow_provider_hubprefs.operators._files import file_at, path_at
from airflow_provider_hubprefs.operators._rejected import check_on_rejected, fail_if_not_applied

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath


class HubPrefsSplitOperator(BaseOperator):
    """Split a file into shards, for ``HubPrefsBatch...Operator.partial(...).expand(shard=...)``.

    It is told by the file's size alone (of Parquet, by its row groups), and not read. Returns a list of small
    mappings without an address. Compressed files, and texts in an encoding such as UTF-16, are one shard; a Parquet
    file has no more shards than row groups. The log says so.

    :param source: path or URL of a file, as the batch operators have it. (templated)
    :param shards: how many, at most. (templated)
    :param encoding: of the file, where the batch operator declares one. (templated)
    :raises HubPrefsException: the file cannot be read, or is empty.
    """

    template_fields: Sequence[str] = ("source", "shards", "encoding")
    ui_color = "#ffe3d6"

    def __init__(
        self,
        *,
        source: str | ObjectStoragePath,
        shards: int | str,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.shards = shards
        self.encoding = encoding

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the shards."""
        from airflow_provider_hubprefs.arguments import whole_number
        from airflow_provider_hubprefs.bulk.shards import split, told_of

        with airflow_errors():
            shards = split(path_at(self.source), whole_number("shards", self.shards), encoding=self.encoding)
        self.log.info("%d shards of %d bytes in all", len(shards), shards[0].size)
        return [told_of(shard) for shard in shards]


class HubPrefsMergeReportsOperator(BaseOperator):
    """Make one report of those of all shards, and one file of their dead letters; delete the shards' files of them.

    Rows are numbered as in the whole file. It fails, and names them, where shards are missing, or where they are not
    of one split. With the default ``trigger_rule`` it runs when all shards have succeeded. Where they should not fail
    because of rejected rows, give them ``on_rejected="report"`` and let this operator judge all of them. With
    ``trigger_rule="all_done"`` it also runs when some have failed, to say which.

    Returns what the batch operators return, with ``shards``, their number. Counts, requests and waiting are added up;
    ``tries`` and ``duration_seconds`` are those of the shard with most.

    :param reports: the mapped task's results (``run.output``). (templated)
    :param on_rejected: as the batch operators have it, over all shards.
    :param dead_letters: path or URL to write all dead letters to; needs them of the shards. (templated)
    :param report: path or URL to write the returned summary to, as JSON. (templated)
    :raises HubPrefsFailException: shards are missing or do not fit together, or ``on_rejected``.
    """

    template_fields: Sequence[str] = ("reports", "dead_letters", "report")
    ui_color = "#ffe3d6"

    def __init__(
        self,
        *,
        reports: Any,
        on_rejected: Literal["fail", "report"] = "fail",
        dead_letters: str | ObjectStoragePath | None = None,
        report: str | ObjectStoragePath | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reports = reports
        self.on_rejected = on_rejected
        self.dead_letters = dead_letters
        self.report = report

    def execute(self, context: Context) -> dict[str, Any]:
        """Merge, and say what became of all rows."""
        from airflow_provider_hubprefs.bulk.merge import merge

        with airflow_errors():
            check_on_rejected(self.on_rejected)
            summary = merge(
                self.reports[:]
                if self.reports is not None
                else [],  # all of them by one request of Airflow's
                path_of=path_at,
                dead_letters=file_at(self.dead_letters),
                report_to=file_at(self.report),
            )
        self.log.info("%s", summary)
        fail_if_not_applied(self, summary, context)
        return summary
