"""Start a perception node: the joint network, or RDSNet, SegRPN, or both of these.

    ros2 launch jointseg_ros perception.launch.py image_topic:=/camera/image_raw
    ros2 launch jointseg_ros perception.launch.py --show-args

Values come from params_file; an argument that is given wins over it, and `model` alone says which
models run. The nodes configure and activate themselves unless autostart is false. Where nothing
else is chosen, they send large images through shared memory (docs/large_images.md). The arguments,
and what follows from them, are in jointseg_ros/launching/perception.py.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.events.process import ProcessExited, ShutdownProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from jointseg_ros.launching.arguments import meant, misspelt
from jointseg_ros.launching.perception import ARGUMENTS, programs
from jointseg_ros.launching.program import Program


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that follow from them."""
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=choices or None
        )
        for name, default, choices, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list:
    """The nodes for the values that the arguments have."""
    given = meant({name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS})
    said = [LogInfo(msg=text) for text in misspelt(ARGUMENTS, context.launch_configurations)]
    return [*said, *(action for program in programs(given) for action in started(program))]


def started(program: Program) -> list:
    """The node, which is started again after what a new process may mend."""
    values = program.parameters
    node = Node(
        package=program.package,
        executable=program.executable,
        namespace=program.namespace,
        name=program.name or None,
        arguments=list(program.arguments),
        parameters=[*program.parameter_files, {name: typed(v) for name, v in values.items()}],
        remappings=list(program.remappings),
        ros_arguments=["--log-level", program.log_level] if program.log_level else [],
        additional_env=dict(program.environment),
        output="screen",
        respawn=program.respawn_delay is not None,
        respawn_delay=program.respawn_delay,
    )

    def unless_hopeless(event: ProcessExited, _: LaunchContext) -> EmitEvent | None:
        if program.starts_again_after(event.returncode) or program.respawn_delay is None:
            return None
        return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(node)))

    ended = OnProcessExit(target_action=node, on_exit=unless_hopeless)
    return [RegisterEventHandler(ended), node]


def typed(value: object) -> object:
    """A string that stays one, also when YAML would read a number or a truth value in it."""
    kinds = {str: str, list: list[str]}
    return ParameterValue(value, value_type=kinds[type(value)]) if type(value) in kinds else value
