"""Models evaluated on recordings: every frame, without ROS, by as many processes as wanted."""
