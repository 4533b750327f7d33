"""The processes that system tests start end with them, also when the tests are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.system.processes import Processes, none_is_left, processes_with, wait_for

if TYPE_CHECKING:
    from pathlib import Path

SLEEPERS = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]])
time.sleep(600)
"""
OWNER = """
import os, sys, time
from pathlib import Path
from tests.system.processes import Processes
with Processes() as processes:
    sleep = "import sys, time; open(sys.argv[1] + '/up', 'w'); time.sleep(600)"
    command = [sys.executable, "-c", sleep, sys.argv[1]]
    processes.start("sleeper", command, env=dict(os.environ), log=Path(sys.argv[1]) / "log")
    time.sleep(600)
"""


def test_an_exception_ends_them_and_what_they_started(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLEEPERS, str(tmp_path)]
    with pytest.raises(KeyboardInterrupt), Processes() as processes:
        processes.start("sleeper", command, env=dict(os.environ), log=tmp_path / "log")
        wait_for("both", lambda: len(processes_with(str(tmp_path))) == 2, timeout=30)
        raise KeyboardInterrupt
    assert none_is_left(str(tmp_path))


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux ends the children of a process that was killed"
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_they_end_when_their_parent_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], cwd=ROOT) as owner:
        # Between fork and exec it looks like its parent, and would not be ended with it yet.
        wait_for("the sleeper", (tmp_path / "up").exists, timeout=30)
        assert len(processes_with(str(tmp_path))) == 2
        owner.send_signal(number)
        owner.wait(30)
    assert none_is_left(str(tmp_path))
