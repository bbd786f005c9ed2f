"""What makes the networks fast on CPUs without changing what they compute."""
