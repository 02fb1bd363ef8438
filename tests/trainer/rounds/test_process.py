"""What a round's process leaves behind when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from trainer.rounds.distributed import use_process_local_bar_lock

ROOT = Path(__file__).parents[3]
START = """
from multiprocessing import get_context
from tests.trainer.rounds.test_process import draw_a_bar_and_die
process = get_context("spawn").Process(target=draw_a_bar_and_die)
process.start()
process.join()
print(process.exitcode)
"""


def draw_a_bar_and_die() -> None:
    use_process_local_bar_lock()
    tqdm(disable=True)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_killed_during_progress_leaves_no_semaphore_warning() -> None:
    ended = subprocess.run([sys.executable, "-c", START], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("-9\n", "")
