"""Speed and endurance, measured: networks, ROS nodes, the painter of scenes, and the soak test."""
