"""ROS 2 nodes of jointseg."""

from jointseg_core.command import end_by_signals

end_by_signals(__name__)
