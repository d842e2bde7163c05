"""What a person sees and presses."""

from __future__ import annotations

import gc
import signal

import pytest

from qnas_ov import terminal


class InterruptedWhileItEnds:
    """Gets Ctrl-C inside its destructor, where Python drops the KeyboardInterrupt."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_that_a_destructor_drops_stops_the_work_at_its_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(terminal, "INTERRUPTION", terminal.Interruption())
    progress = terminal.TerminalProgress()
    progress.begin("working", 2)
    progress.step("first")
    terminal.INTERRUPTION.install()
    try:
        InterruptedWhileItEnds()
        gc.collect()
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt):
        progress.step("second")
