import math

import torch

from langpose_dist.losses.caption import caption_loss


def test_it_is_the_mean_over_words_and_end_by_hand() -> None:
    # Probabilities 1/2, 1/4, 1/4 and 1/8, 1/8, 6/8 of three words.
    half, most = [math.log(2.0), 0.0, 0.0], [0.0, 0.0, math.log(6.0)]
    logits = torch.tensor([[half, most, most], [half, half, half]])
    targets = torch.tensor([[0, 1, 2], [0, 0, 0]])
    expected_first = (math.log(2) + math.log(8) + math.log(8 / 6)) / 3
    found = caption_loss(logits, targets, padding=-1)
    torch.testing.assert_close(found, torch.tensor([expected_first, math.log(2)]))


def test_padding_neither_counts_nor_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=generator).requires_grad_()
    targets = torch.tensor([[3, 4, 2, 0, 0], [5, 6, 3, 4, 2]])
    loss = caption_loss(logits, targets, padding=0)
    short = caption_loss(logits[:1, :3], targets[:1, :3], padding=0)
    torch.testing.assert_close(loss[:1], short)
    loss.sum().backward()
    assert logits.grad is not None
    assert (logits.grad[0, 3:] == 0).all()
    assert (logits.grad[0, :3] != 0).any()


def test_smoothing_mixes_in_the_mean_over_all_words() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 5, generator=generator)
    targets = torch.tensor([[3, 2]])
    plain = caption_loss(logits, targets, padding=0)
    uniform = -logits.log_softmax(dim=-1).mean()
    smooth = caption_loss(logits, targets, padding=0, label_smoothing=0.1)
    torch.testing.assert_close(smooth, 0.9 * plain + 0.1 * uniform[None])
