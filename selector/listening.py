"""What `peltier serve` needs before modules are loaded: a free port, and the extra `serve`."""

from __future__ import annotations

import importlib
import socket
from typing import Any

from selector.study import RequestError


def web_server() -> Any:
    """The module `selector.web_server`.

    Raises:
        RequestError: if FastAPI or uvicorn is not installed.
    """
    try:
        return importlib.import_module("selector.web_server")
    except ModuleNotFoundError as error:
        raise RequestError(
            f"peltier serve needs {error.name}, which is not installed; install it with: "
            f"pip install 'peltier[serve]'"
        ) from None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        RequestError: if the address is not ours or taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise RequestError(
            f"cannot listen on {host}, port {port}: {error.strerror}; give another --port or --host"
        ) from None
