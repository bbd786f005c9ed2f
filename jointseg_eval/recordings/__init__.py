"""Recordings read and written without ROS: .mcap, .db3, damaged ones too."""
