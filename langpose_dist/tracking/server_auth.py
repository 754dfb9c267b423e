"""Who gets into a tracking server: MLflow's own check, without the doors that lead past its permissions.

``launch/tracking_server.py`` names ``authenticate`` in the server's settings.
"""

from flask import Response, request
from mlflow.server import auth
from werkzeug.datastructures import Authorization

_CLOSED = ("/mlflow/assistant", "/mlflow/demo")
"""Routes that MLflow opens to everyone with a password: made-up example data, and, for requests from the
server's own machine, a coding agent that works there. A reader is to write nothing."""


def authenticate() -> Authorization | Response:
    """Name and password of the request, or the answer that refuses it."""
    if any(route in request.path for route in _CLOSED):
        return auth.make_forbidden_response()
    return auth.authenticate_request_basic_auth()
