"""Texts that are nested deeply, as several formats read them."""


def deep_yaml(depth: int) -> str:
    """Lists in lists."""
    return "[" * depth + "]" * depth


def deep_json(depth: int, inside: str = "1") -> str:
    """Objects in objects."""
    return '{"a":' * depth + inside + "}" * depth
