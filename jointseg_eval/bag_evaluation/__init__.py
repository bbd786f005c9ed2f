"""Models judged on recordings: every frame of them, without ROS, by as many processes as wanted."""
