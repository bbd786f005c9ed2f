"""Recordings read and written without ROS: .mcap, .db3, damaged ones too.

bags          the reader, which counts what is lost, and the writer
files         the files of a recording, found and opened
mcap_file     one .mcap file, its messages in the order of time
mcap_index    where they lie: by the file's index, or without one by its records
mcap_records  the bytes of a record, and of a chunk, expanded
sqlite_file   one .db3 file
ros1_file     one .bag file of ROS 1
records       what all of these give, and losses as sentences
types         the definitions of message types
serialization messages from their bytes
pictures      the pictures of a recorded camera
messages, topics   what the messages of a camera mean
"""
