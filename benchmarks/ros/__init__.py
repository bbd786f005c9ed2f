"""From message to message: cameras, the perception node and a listener over real DDS, measured."""
