"""The style `wide`: towns and open roads drawn wider than real ones are, as a real camera sees."""

from training.scenes.wide.street import wide_street

__all__ = ["wide_street"]
