"""A folder of this machine that only one user can read and write: for the budget's file."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def private_folder() -> Path:
    """Where it is; see :func:`make_private`."""
    return Path(tempfile.gettempdir()) / f"hubprefs-{os.getuid()}"


def make_private(folder: Path) -> None:
    """Make a folder that only this user can write to and look into, unless it is there.

    :raises OSError: it cannot be made, or something of another user is there.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder that only this user can write to")
