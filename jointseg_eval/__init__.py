"""How good a model is, on data sets and on recordings: metrics, readers, reports; no ROS."""
