"""MLflow: runs, the registry, and the registered model.

Importing a module of this package imports MLflow, which takes seconds: do so only where it is needed.
"""

import os

# MLflow reads these when it is imported or called. Its own defaults retry an unreachable server for minutes,
# report usage to its makers, draw a progress bar for every small file, and print the URL of a
# run with any password in it.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "PGCONNECT_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
OWN_SETTINGS = frozenset(_DEFAULTS) - frozenset(os.environ)
"""Those that the user left to this package; client.py changes them where other waiting times are right."""
os.environ.update({name: _DEFAULTS[name] for name in OWN_SETTINGS})
