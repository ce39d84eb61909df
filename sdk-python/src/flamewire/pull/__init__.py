"""``/debug/pprof`` for Python: WSGI and ASGI applications from which profiles are pulled.

They serve the running session, beside what it pushes; start it with ``export_protocol="none"`` where nothing
is to be pushed.
"""

from flamewire.pull.asgi import AsgiApp
from flamewire.pull.wsgi import WsgiApp

__all__ = ["AsgiApp", "WsgiApp"]
