"""The contrastive term in its forms: a motion against its own label and sampled other labels.

Nothing is compared across windows, so the value depends neither on the batch nor on the number of ranks.
Each function gives one value per window; the own label is candidate 0.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def candidate_logits(
    motion_features: Float[Tensor, "B D"], text_features: Float[Tensor, "B C D"], temperature: float
) -> Float[Tensor, "B C"]:
    """Cosine similarity of each motion with its candidate labels, divided by the temperature.

    Args:
        motion_features: Unit length.
        text_features: Unit length; own label first.
        temperature: Smaller is sharper.
    """
    return (text_features @ motion_features[:, :, None]).squeeze(-1) / temperature


def info_nce(logits: Float[Tensor, "B C"]) -> Float[Tensor, "B"]:
    """Cross-entropy with the own label as hard target.

    Source:
        van den Oord et al., 2018.
    """
    return -F.log_softmax(logits, dim=-1)[:, 0]


def modified_info_nce(
    logits: Float[Tensor, "B C"], target_logits: Float[Tensor, "B C"], *, gamma: float, beta: float
) -> Float[Tensor, "B"]:
    """Focal loss on the own label plus a KL divergence towards the labels' own likeness.

    With p = softmax(logits) and q = softmax(target_logits) the value is
    ``-(1 - p_0)^gamma log p_0 + beta * KL(q || p)``. gamma 0 and beta 0 give ``info_nce``.

    Args:
        logits: Motion against candidate labels.
        target_logits: The own label against the candidate labels in a frozen text encoder's sentence
            space, divided by its temperature; no gradient flows into it.
        gamma: Focal exponent: takes weight from windows that already fit.
        beta: Weight of the divergence: labels alike in meaning are not pushed apart.

    Source:
        LangPose supplement, section 4; focal loss from Lin et al., ICCV 2017. The paper prints no
        formula; this reading of it is the project's.
    """
    log_p = F.log_softmax(logits, dim=-1)
    log_q = F.log_softmax(target_logits.detach(), dim=-1)
    # expm1 keeps 1 - p exact as p nears 1; at the clamp's edge pow has a finite gradient for any gamma.
    miss = (-log_p[:, 0].expm1()).clamp(min=1e-12)
    focal = -(miss**gamma) * log_p[:, 0]
    divergence = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=-1)
    return focal + beta * divergence
