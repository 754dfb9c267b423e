from pathlib import Path

import pytest
import torch

from langpose_dist.config import UserError
from langpose_dist.models.guo import GuoMatcher
from tests.guo import fill, scatter


def test_embeddings_are_those_of_the_published_code() -> None:
    # From networks/modules.py of https://github.com/EricGuo5513/text-to-motion (72df96e), which was run with
    # these weights and inputs in float64.
    model = fill(GuoMatcher(251).double().eval())
    motion = scatter((2, 196, 251), 7)
    motion[1, 50:] = 0
    words, kinds = scatter((2, 5, 300), 8), torch.eye(15).double()[5:].unflatten(0, (2, 5))
    with torch.inference_mode():
        found = model.embed_motion(motion, torch.tensor([196, 50]))
        texts = model.embed_text(words, kinds, torch.tensor([5, 3]))
        swapped = model.embed_text(words.flip(0), kinds.flip(0), torch.tensor([3, 5]))
    assert found[:, ::128].flatten().tolist() == pytest.approx(
        [0.216290, 0.085455, -0.120420, -0.150154, 0.170756, -0.026685, -0.233414, -0.083961], abs=1e-6
    )
    assert texts[:, ::128].flatten().tolist() == pytest.approx(
        [0.015638, 0.109312, -0.017598, 0.105556, 0.114784, 0.116188, -0.075741, 0.129880], abs=1e-6
    )
    torch.testing.assert_close(swapped.flip(0), texts)
    assert torch.cdist(found, texts).flatten().tolist() == pytest.approx(
        [5.9206, 5.7399, 5.9332, 5.7322], abs=1e-4
    )


def test_another_file_is_not_taken_for_the_published_one(tmp_path: Path) -> None:
    path = tmp_path / "finest.tar"
    torch.save({"m2t_transformer": {}}, path)
    with pytest.raises(
        UserError, match=r"is not the published text_mot_match/model/finest.tar: 'movement_enc"
    ):
        GuoMatcher.load(path)
    path.write_bytes(b"<html>Google Drive: too many people have viewed this file</html>")
    with pytest.raises(UserError, match=r"finest\.tar"):
        GuoMatcher.load(path)
