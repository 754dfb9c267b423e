"""Text that the cards of models share, wherever a model goes."""

from collections.abc import Mapping
from typing import Any

NO_LICENCE = "not stated; ask for it before use"


def describe_numbers(evaluation: Mapping[str, Any] | None) -> str:
    """Markdown of an evaluation: every metric under every condition, the data and the protocol.

    Args:
        evaluation: Content of ``evaluation.json``; ``None`` or empty if the model was never evaluated.
    """
    if not evaluation:
        return "This model was never evaluated."
    conditions = evaluation.get("conditions", {})
    lines = [
        f"Split `{evaluation.get('split')}` of {evaluation.get('dataset')}, fingerprint "
        f"`{evaluation.get('data_fingerprint')}`: {evaluation.get('num_windows')} windows, "
        f"{evaluation.get('num_frames')} frames. 2D input: {evaluation.get('source_2d')}.",
        "",
        "| metric | " + " | ".join(conditions) + " |",
        "|---" * (1 + len(conditions)) + "|",
    ]
    for metric in dict.fromkeys(name for values in conditions.values() for name in values):
        cells = [f"{values[metric]:.4g}" if metric in values else "-" for values in conditions.values()]
        lines.append(f"| `{metric}` | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- `{name}`: {meaning}" for name, meaning in evaluation.get("protocol", {}).items()]
    return "\n".join(lines)
