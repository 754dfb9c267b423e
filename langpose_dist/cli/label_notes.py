"""Notes about the labels of a data set, from the default text encoder."""

from langpose_dist.config import TextConfig, UserError
from langpose_dist.data.manifest import Manifest
from langpose_dist.models.tokens import load_tokenizer
from langpose_dist.tasks.labels import describe_labels


def label_notes(manifest: Manifest) -> list[str]:
    """Lines about labels that the encoder cuts, cannot tell apart or does not know."""
    labels = sorted({label for split in manifest.splits for label in manifest.label_counts(split)})
    if not labels:
        return []
    config = TextConfig()
    try:
        return list(describe_labels(labels, load_tokenizer(config), config))
    except UserError as error:
        return [f"the labels were not tried on a text encoder: {error}"]
