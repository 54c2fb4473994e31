"""How MLflow's onnx flavour gets text: shipped inside a registered model that has text columns, and run there.

Not here: writing the model (`training.registered_model`). MLflow 3.17 hands a text column of pandas 3 over as an
extension array, which ONNX Runtime refuses, and a missing text as NaN, which it writes "nan".
"""

from typing import Any


class TextColumns:
    """A loaded onnx model whose text columns come as plain objects, "" for a missing one."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded

    def get_raw_model(self) -> Any:
        """Return the session of ONNX Runtime."""
        return self._loaded.get_raw_model()

    def predict(self, data: Any, params: Any = None) -> Any:
        """Return what the model makes of a data frame, which stays as it was."""
        # Any: MLflow publishes no type of what it loads, and pandas none of its frames.
        texts = {name for name, kind in self._loaded.inputs if kind == "tensor(string)"}
        plain = {name: data[name].astype(object).where(data[name].notna(), "") for name in texts}
        return self._loaded.predict(data.assign(**plain), params)


def _load_pyfunc(path: str) -> TextColumns:
    """Return the model in a file; MLflow asks for a function of this name."""
    import mlflow.onnx  # noqa: PLC0415  only where a model is served

    return TextColumns(mlflow.onnx._load_pyfunc(path))  # noqa: SLF001  what MLflow itself calls
