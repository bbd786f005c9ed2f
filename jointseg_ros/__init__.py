"""ROS 2 nodes of jointseg; the generated messages are merged in from the installed package."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
