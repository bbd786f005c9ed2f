"""What follows from results of more than one picture: objects in time, without ROS or data sets."""
