"""Keeps credentials off command lines, which every user of a machine can read.

The package is imported late, since ``start.py`` has a line of its own for a Python without it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from errors import StartError

_EXPORTED = ("MLFLOW", "NCCL", "PYTHON", "MV2", "UCX")
"""Beginnings of the variables that DeepSpeed's runner writes on pdsh's command line."""
_ELSEWHERE = (
    "give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, or ~/.mlflow/credentials"
)


def refuse_secrets(words: Sequence[str]) -> None:
    """See that nothing secret is among the training's words.

    Raises:
        StartError: If a word holds credentials; they are not repeated.
    """
    from langpose_dist.host.redaction import holds_secret, redact

    for word in words:
        if holds_secret(word):
            name, has_value, _ = word.partition("=")
            what = f"the value of {redact(name)}" if has_value else "a word after --"
            raise StartError(f"{what} holds credentials, and command lines are public; {_ELSEWHERE}")


def exported_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that DeepSpeed would write on pdsh's command line and that look like a secret."""
    from langpose_dist.host.redaction import is_secret

    return tuple(
        name for name in sorted(environ) if name.startswith(_EXPORTED) and is_secret(name, environ[name])
    )


def check_environment_files(environ: Mapping[str, str]) -> None:
    """See that the files whose lines DeepSpeed writes on pdsh's command line hold nothing secret.

    Raises:
        StartError: If one does, or has a line that DeepSpeed cannot read.
    """
    from langpose_dist.host.redaction import is_secret

    file = environ.get("DS_ENV_FILE", ".deepspeed_env")
    for path in dict.fromkeys((Path("~").expanduser() / file, Path(file))):
        if not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            name, separator, value = line.partition("=")
            name = name.strip()
            if not separator:
                raise StartError(
                    f"{path}:{number} is not NAME=VALUE, and DeepSpeed reads it; correct the line"
                )
            if is_secret(name, value):
                raise StartError(
                    f"{path}:{number}: {name} looks like a secret, and DeepSpeed writes it on the "
                    "nodes' command lines; remove the line, and use ~/.mlflow/credentials on the first node"
                )
