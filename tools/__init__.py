"""Set-up of the environment of the demo and the tests, with or without a ROS installation."""
