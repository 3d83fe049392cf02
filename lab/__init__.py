"""The lab: Docker hosts on one machine, to learn the tool on, and to break. `bin/lab` is its door.

A host is a container that systemd runs, with an SSH server and a Docker engine of its own. What is
known of a lab is read from the engine (labels) and from its folder; nothing else is kept.
"""

from lab.lab import Lab

__all__ = ["Lab"]
