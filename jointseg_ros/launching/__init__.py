"""What the launch files start, and by which arguments; also without `launch`: see `__main__`.

Nothing here imports `launch`, rclpy or torch.
"""
