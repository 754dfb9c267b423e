"""Authentication of a tracking server: MLflow's own, without the routes that bypass its permissions.

``launch/tracking_server.py`` names ``authenticate`` in the server's settings.
"""

from flask import Response, request
from mlflow.server import auth
from werkzeug.datastructures import Authorization

_CLOSED_ROUTES = ("/mlflow/assistant", "/mlflow/demo")
"""Routes that MLflow opens to everyone with a password: a coding agent that works on the server's machine for
requests from there, an ssh tunnel's included, and made-up example data. A reader must not write."""


def authenticate() -> Authorization | Response:
    """Return name and password of the request, or the response that refuses it."""
    if any(route in request.path for route in _CLOSED_ROUTES):
        return auth.make_forbidden_response()
    return auth.authenticate_request_basic_auth()
