"""The registered model as MLflow loads it: its text is stored with the weights, nothing is pickled."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from langpose_dist.models.lifting import lift
from langpose_dist.models.weights import load_langpose


class LangPoseLifter(PythonModel):
    """Lifts 2D keypoints of clips of any length to 3D."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights, onto a GPU where there is one."""
        model, config = load_langpose(Path(context.artifacts["weights"]))
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.num_frames = config.window.num_frames

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  (the base has no return type)
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Lift clips.

        Args:
            context: Unused, part of MLflow's interface.
            model_input: float32 (clips, frames, 17, 3): x, y in half image widths from the centre, y down,
                and confidence; all zero where a joint is missing.
            params: Unused, part of MLflow's interface.

        Returns:
            float32 (clips, frames, 17, 3): camera axes (x right, y down, z forward), pelvis near 0, metres.
        """
        keypoints_2d = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        return lift(self.model, keypoints_2d, self.num_frames).numpy()


set_model(LangPoseLifter())
