"""Training, evaluation and data: scripts for people with data, run from a checkout."""

from jointseg_core.command import end_by_signals

end_by_signals(__name__)
