"""How good a model is, on data sets and on recordings, without ROS: metrics, readers, reports, drawings."""
