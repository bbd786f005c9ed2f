"""The whole system on one recording: `python -m demo`, or `make demo`."""

from jointseg_core.command import end_by_signals

end_by_signals(__name__)
