"""The folder of one run: its report, its dead letters, and what its tries keep there in between."""

from __future__ import annotations

import posixpath
import re
from hashlib import blake2b
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_hubprefs.bulk.source.files import pattern_in
from airflow_provider_hubprefs.bulk.source.stored import shown
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.storage import canonical, files_in, is_in, local_path, move, write_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from airflow_provider_hubprefs.storage import Path

_PART = "_part-"
"""Begins the names of parts: sources leave out names that begin with ``_``."""

_LONGEST = 120
"""Characters of an id that its folder's name keeps; file systems take 255 bytes."""


class RunFolder:
    """The folder of one run. Several tries may write there at once; each has its own parts.

    :param path: of the folder; it is made when the first file is written.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = local_path(path) or path
        self.report = self.path / "report.json"
        self.page = self.path / "report.html"
        self.letters = self.path / "dead_letters.jsonl"
        self.checkpoint = self.path / "checkpoint"
        self.writer = token_hex(8)
        """Name of this try."""

    def part(self, name: str) -> Path:
        """Return where the part of a name is."""
        return self.path / f"{_PART}{name}"

    def write(self, path: Path, content: Iterable[bytes]) -> None:
        """Write a file of this folder so that it is replaced as a whole, or not at all."""
        whole = self.part(f"{self.writer}-{path.name}")
        write_file(whole, content)
        move(whole, path)

    def remove_parts(self, *, keep: Collection[str] = (), writer: str = "") -> None:
        """Delete parts of all tries, or of one.

        :param keep: names of parts to keep.
        """
        for file in files_in(self.path):
            if file.name.startswith(f"{_PART}{writer}") and file.name.removeprefix(_PART) not in keep:
                file.unlink(missing_ok=True)

    def check_apart_from(self, source: Iterable[Any]) -> None:
        """Refuse a source that the run's own files are part of, and one that is among them; nothing is opened.

        :param source: paths of files, of folders, or with wildcards.
        :raises ValidationError: they are not apart.
        """
        store, mine = canonical(self.path)
        for path in source:
            found = pattern_in(path)
            where, place = canonical(path if found is None else found[0])
            if where != store:
                continue
            if found is None:
                included = is_in(mine, place)
            else:
                names = (self.report.name, self.page.name, self.letters.name)
                included = any(_matches(posixpath.join(mine, name), place, found[1]) for name in names)
            if included or is_in(place, mine):
                raise ValidationError(
                    f"source and output overlap: {shown(path.name)} is where this run writes its own files. Set "
                    "output to a folder that the source does not include; copy dead letters of this run elsewhere "
                    "before you send them again. Nothing was sent"
                )


def name_of(part: object) -> str:
    """Return a folder's name for an id: safe in any store, and another for every id."""
    quoted = quote(str(part), safe="")
    if quoted.startswith("."):
        quoted = f"%2E{quoted[1:]}"  # neither a hidden folder nor the one above
    if len(quoted) <= _LONGEST:
        return quoted or "%"
    return f"{quoted[:_LONGEST]}%~{blake2b(str(part).encode(), digest_size=12).hexdigest()}"


def _matches(file: str, folder: str, pattern: str) -> bool:
    """Whether a glob below a folder finds a file."""
    from fsspec.utils import glob_translate  # noqa: PLC0415 - a source with wildcards has loaded it

    return re.match(glob_translate(posixpath.join(folder, pattern)), file) is not None
