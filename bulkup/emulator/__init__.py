"""Both endpoints as published, on this machine, with every way in which they can fail.

A leaf: the engine never imports it. `running` starts it in an event loop, `spawned` in another process, `serve` as a
program; `Settings` are its switches.
"""

from .app import create_app
from .process import Spawned, spawned
from .server import Emulator, running, serve
from .settings import FaultName, Growth, Rate, RefuseRows, ServiceName, Settings, Window

__all__ = [
    "Emulator",
    "FaultName",
    "Growth",
    "Rate",
    "RefuseRows",
    "ServiceName",
    "Settings",
    "Spawned",
    "Window",
    "create_app",
    "running",
    "serve",
    "spawned",
]
