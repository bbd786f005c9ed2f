"""ROS 2 nodes of jointseg."""
