"""Loss of captions; one value per window, so every window weighs the same."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def caption_loss(
    logits: Float[Tensor, "B M V"], targets: Int[Tensor, "B M"], *, padding: int, label_smoothing: float = 0.0
) -> Float[Tensor, "B"]:
    """Mean cross-entropy of a caption's words and its end, in nats per word.

    TM2T sums over all words of a batch, so that a long caption weighs more. Here each window weighs the same,
    as in all losses, however a batch is put together.

    Args:
        logits: Of each next word.
        targets: Numbers of the words.
        padding: Number that stands beyond a caption's end, which is not counted.
        label_smoothing: Share of the target that is spread over all words.
    """
    losses = F.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=padding,
        label_smoothing=label_smoothing,
        reduction="none",
    ).unflatten(0, targets.shape)
    return losses.sum(dim=1) / (targets != padding).sum(dim=1)
