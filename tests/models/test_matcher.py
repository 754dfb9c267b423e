import torch

from langpose_dist.models.matcher import CaptionMatcher


def test_frames_outside_the_mask_change_nothing() -> None:
    model = CaptionMatcher.seeded(8, seed=0).eval()
    motion = torch.randn(3, 41, 102, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([41, 30, 5])
    mask = torch.arange(41) < lengths[:, None]
    together = model.embed_motion(motion, mask)
    for row, length in enumerate(lengths.tolist()):
        alone = model.embed_motion(motion[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_weights_depend_on_the_seed_alone() -> None:
    first, second = (CaptionMatcher.seeded(8, seed=3).state_dict() for _ in range(2))
    other = CaptionMatcher.seeded(8, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["motion.weight"], other["motion.weight"])
