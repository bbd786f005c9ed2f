"""What follows from results: objects in time and in space, without ROS or data sets."""
