"""Values that are bound to a query, as a private template field: an address may be among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hubprefs.arguments import PrivateArgument


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
