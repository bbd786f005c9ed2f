"""How good a model is, on data sets and on recordings: metrics, readers, reports; no ROS."""

from jointseg_core.command import end_by_signals

end_by_signals(__name__)
