"""Does the node keep working for hours? `python -m jointseg_ros.soak --help`."""
