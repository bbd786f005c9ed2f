"""Models for other runtimes: written and checked here, opened by `backends`."""
