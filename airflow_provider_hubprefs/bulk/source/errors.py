"""What can be wrong with a source as a whole. One row that cannot be used is no error: it is an invalid row."""

from __future__ import annotations


class SourceError(Exception):
    """A source cannot be read, or not to its end.

    The text says what is wrong with which file, what was expected and what to do. It quotes nothing of the content.
    """

    permanent = True
    """True if a person has to change the source or an argument first: trying again cannot help."""


class UnavailableError(SourceError):
    """A source cannot be read now: it is missing, being written, or its store fails."""

    permanent = False


class EmptyFileError(UnavailableError):
    """A file has no line, or only blank ones."""


class ParquetError(SourceError):
    """A file is a Parquet file where lines were expected."""


class ContradictionError(SourceError):
    """Rows contradict each other, and ``on_conflict`` does not say which of them count. Names their places only."""
