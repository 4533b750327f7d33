"""The text of a query: that it is one, only reads, and gives its rows in an order."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from airflow_provider_hubprefs.operators._database import NOT_INSTALLED

_BEGINS = {"SELECT", "WITH", "VALUES", "TABLE", "FROM", "("}
"""First words of what only reads; DuckDB's queries may begin with FROM."""


def query_of(sql: str | None, *, conn_id: str | None, parameters: Any, ordered_because: str = "") -> str:
    """Check the text of a query and what belongs to it, and return the text without what ends it.

    :param sql: None: there is no query, and nothing may be given that belongs to one.
    :param parameters: None: there are none.
    :param ordered_because: why its rows need a stable order, and what to do instead; "": they need none.
    :raises ValidationError: it is none or several, writes, has an address in it, or has no ORDER BY of its own: one in
        a subquery, a window or a comment does not count. Or something is missing that belongs to it.
    """
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    if (sql is None) != (conn_id is None):
        given, missing = ("sql", "sql_conn_id") if conn_id is None else ("sql_conn_id", "sql")
        raise ValidationError(f"expected {missing} with {given}, got nothing")
    if parameters is not None and (sql is None or not isinstance(parameters, list | tuple | Mapping)):
        got = "none" if sql is None else type(parameters).__name__
        raise ValidationError(
            f"sql_parameters: expected {'sql with it' if sql is None else 'a list or a mapping'}, got {got}"
        )
    if sql is None:
        return ""
    try:
        from sqlparse import lexer, tokens
    except ImportError:
        raise ValidationError(NOT_INSTALLED) from None
    query, depth, ended, does = "", 0, False, "SELECT"
    words: list[str] = []  # keywords outside of parentheses, and "" for what is none
    for kind, text in lexer.tokenize(sql):  # type: ignore[no-untyped-call]
        _refuse_address(text)
        silent = kind in tokens.Comment or not text.strip()
        if ended and not silent:
            raise ValidationError("sql: expected one query, got several statements")
        ended = ended or text == ";"
        query += "" if ended else text
        if silent or ended:
            continue
        if depth == 0:
            if kind in tokens.Keyword.DML and not {"SELECT", "FOR"} & set(words):
                does = text.upper()
            words += text.upper().split() if kind in tokens.Keyword else [text if text == "(" else ""]
        depth += {"(": 1, ")": -1}.get(text, 0)
    if not words or words[0] not in _BEGINS or does != "SELECT":
        got = does if does != "SELECT" else next(iter(words), "")
        raise ValidationError(
            f"sql: expected a query that only reads (SELECT, WITH, VALUES), got {got or 'none'}"
        )
    if ordered_because and ("ORDER", "BY") not in pairwise(words):
        raise ValidationError(f"sql: expected ORDER BY a unique key, got no order. {ordered_because}")
    return query.strip()


def _refuse_address(text: str) -> None:
    """Look at what stands in quotes or in a comment; a pattern such as ``'%@example.com'`` is no address."""
    from airflow_provider_hubprefs.bulk.source.addresses import is_address
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    if "@" in text and any("%" not in word and is_address(word.strip("'\"$`-*/,;")) for word in text.split()):
        raise ValidationError(
            "sql: there is an address in its text, which Airflow stores and shows. Write a placeholder instead, and "
            "give the address in sql_parameters"
        )
