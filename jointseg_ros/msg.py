"""The messages under the name they had; of the next release on only `jointseg_msgs.msg` is left."""

from jointseg_msgs.msg import *  # noqa: F403
