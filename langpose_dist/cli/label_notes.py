"""Notes about the labels of a data set, from the default text encoder."""

from concurrent.futures import ThreadPoolExecutor

from langpose_dist.config import TextConfig, UserError
from langpose_dist.data.manifest import Manifest
from langpose_dist.models.tokens import load_tokenizer
from langpose_dist.tasks.labels import describe_labels


class LabelNotes:
    """Notes by the default text encoder's tokenizer, which loads beside other work: it takes seconds."""

    def __init__(self) -> None:
        self._config = TextConfig()
        self._tokenizer = ThreadPoolExecutor(1).submit(load_tokenizer, self._config)

    def of(self, manifest: Manifest) -> list[str]:
        """Lines about labels that the encoder cuts, cannot tell apart or does not know."""
        labels = sorted({label for split in manifest.splits for label in manifest.label_counts(split)})
        if not labels:
            return []
        try:
            return list(describe_labels(labels, self._tokenizer.result(), self._config))
        except UserError as error:
            return [f"the labels were not tried on a text encoder: {error}"]
