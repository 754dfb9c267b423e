"""The registered model as MLflow loads it: its text is stored with the weights, nothing is pickled.

It imports the package from the file that is stored beside it. Where a process has imported a
``langpose_dist`` of its own before, that one serves, as there cannot be two.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class LangPoseModel(PythonModel):
    """An exported model of any task."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights, onto a GPU where there is one."""
        code = Path(context.artifacts["code"]).resolve()
        if "langpose_dist" not in sys.modules:
            sys.path.insert(0, str(code))
        sys.path.append(str(code / "langpose_dist/tracking/registry/standin"))  # last: for what is missing
        from langpose_dist.tasks.exported import load_exported

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

        Raises:
            MlflowException: If the input is outside of the contract. A server answers with its message and
                400; of other exceptions MLflow's server hides the reason.
        """
        try:
            return self.exported.predict(model_input)
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


set_model(LangPoseModel())
