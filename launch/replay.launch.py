"""Play a recording to the perception nodes, and record what they make of it.

    ros2 launch jointseg_ros replay.launch.py bag:=drive.mcap out:=replayed
    ros2 run jointseg_ros evaluate_bag drive.mcap --weights ... --online replayed.mcap

The second line tells what the results were worth. The player starts when the recorder hears every
node, and all ends some seconds after the last frame. The recorder is this package's own, and so is
the player of .mcap files; folders and .db3 files are played by `ros2 bag`, where it is installed.
Everything runs on the recording's own time (/clock).
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.events.process import ProcessExited, ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from jointseg_ros.launching.arguments import meant, misspelt
from jointseg_ros.launching.program import launch_folder
from jointseg_ros.launching.replay import (
    ARGUMENTS,
    CONNECTING_S,
    LAST_RESULTS_S,
    READY,
    RESUME,
    bag_player,
    check,
    is_ours,
    perception,
    player,
    recorder,
)


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what follows from them."""
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=choices or None
        )
        for name, default, choices, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list:
    """Nodes and recorder now, the player when they are ready, and the end when it has ended."""
    given = meant({name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS})
    check(given)
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(launch_folder() / "perception.launch.py")),
        launch_arguments=perception(given).items(),
    )
    played = player(given).command() if is_ours(given["bag"]) else bag_player(given)
    record = ExecuteProcess(cmd=recorder(given).command(), output="screen")
    play = ExecuteProcess(cmd=played, output="screen")
    resume = ExecuteProcess(cmd=RESUME, output="screen")
    started = []

    def play_once_ready(event: ProcessIO) -> list | None:
        if started or READY not in event.text.decode(errors="replace"):
            return None
        started.append(play)
        if not is_ours(given["bag"]):
            started.append(TimerAction(period=CONNECTING_S, actions=[resume]))
        return started

    def after_playing(event: ProcessExited, _: LaunchContext) -> TimerAction | EmitEvent:
        if event.returncode:
            return ended("the player has failed")
        end = ended("the recording was played to its end")
        return TimerAction(period=LAST_RESULTS_S, actions=[end])

    def unless_resumed(event: ProcessExited, _: LaunchContext) -> EmitEvent | None:
        return ended("ros2 bag play could not be resumed") if event.returncode else None

    heard = OnProcessIO(target_action=record, on_stdout=play_once_ready)
    over = OnProcessExit(target_action=play, on_exit=after_playing)
    failed = OnProcessExit(target_action=record, on_exit=[ended("the recorder has ended")])
    resumed = OnProcessExit(target_action=resume, on_exit=unless_resumed)
    said = [LogInfo(msg=text) for text in misspelt(ARGUMENTS, context.launch_configurations)]
    return [*said, *map(RegisterEventHandler, (heard, over, failed, resumed)), nodes, record]


def ended(reason: str) -> EmitEvent:
    """The end of everything."""
    return EmitEvent(event=Shutdown(reason=reason))
