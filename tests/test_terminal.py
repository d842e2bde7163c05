"""What a person sees and presses."""

from __future__ import annotations

import subprocess
import sys

# Ctrl-C inside a destructor, where Python drops the KeyboardInterrupt; not in the process of the tests, whose own
# handling of it would come first.
INTERRUPTED = """
import gc, signal
from qnas_ov import terminal

class InterruptedWhileItEnds:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

progress = terminal.TerminalProgress()
progress.begin("working", 2)
progress.step("first")
terminal.INTERRUPTION.install()
InterruptedWhileItEnds()
gc.collect()
try:
    progress.step("second")
except KeyboardInterrupt:
    print("stopped")
"""


def test_ctrl_c_that_a_destructor_drops_stops_the_work_at_its_next_step() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "stopped\n"
