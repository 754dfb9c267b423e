"""The registered model as MLflow loads it: its text is stored with the weights, nothing is pickled."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from langpose_dist.tasks.exported import load_exported


class LangPoseModel(PythonModel):
    """An exported model of any task."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights, onto a GPU where there is one."""
        self.exported = load_exported(Path(context.artifacts["weights"]))
        self.exported.model.to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  (the base has no return type)
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Answer for a batch.

        Args:
            context: Unused, part of MLflow's interface.
            model_input: float32, of the shape and units that the version's description gives.
            params: Unused, part of MLflow's interface.

        Returns:
            float32, likewise.
        """
        return self.exported.predict(model_input)


set_model(LangPoseModel())
