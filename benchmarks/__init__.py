"""Speed and endurance, measured: networks, ROS nodes, the painter of scenes, and the soak test."""

from jointseg_core.command import end_by_signals

end_by_signals(__name__)
