"""int8 after training, by NNCF: the range of every activation is measured on pictures.

Weights get a scale for each output channel, activations one for each tensor; every layer is
quantised, since the shipped weights lose little by it (docs/results/int8_tiny.json).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from jointseg_core.predictor import Predictor
from jointseg_core.regions import RegionHead
from jointseg_core.segrpn import SegRPN

_MOST_REGIONS = 200  # of each picture: more do not change the ranges by much


def calibration_inputs(
    predictor: Predictor, pictures: list[np.ndarray], batch: int
) -> dict[str, list[Tensor]]:
    """The inputs of each graph of a model when its predictor looks at these pictures.

    The last pictures fill up the last batch.
    """
    groups = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
    groups[-1] = (groups[-1] + pictures * batch)[:batch]
    dense = [predictor.manifest.preprocessing.batch(group)[0].contiguous() for group in groups]
    if not isinstance(predictor.model, SegRPN):
        return {"dense": dense}
    return {"dense": dense, "regions": _pooled(predictor, predictor.model.region_head, pictures)}


def _pooled(predictor: Predictor, head: RegionHead, pictures: list[np.ndarray]) -> list[Tensor]:
    """The features [n, bins, C] of the regions that SegRPN proposes in each picture."""
    seen: list[Tensor] = []
    classify = head.classify

    def note(pooled: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(pooled[:_MOST_REGIONS].clone())
        return classify(pooled)

    head.classify = note  # type: ignore[method-assign]  # of this head alone, and for these pictures
    for picture in pictures:
        predictor([picture])
    del head.classify
    return [pooled for pooled in seen if len(pooled)]


def quantize(model: Any, inputs: list[Tensor]) -> Any:
    """An ONNX or OpenVINO model of one input in int8, its ranges measured on these inputs."""
    import nncf

    name = model.graph.input[0].name if hasattr(model, "graph") else 0
    data = nncf.Dataset(inputs, lambda tensor: {name: tensor.numpy()})
    return nncf.quantize(model, data, subset_size=len(inputs), preset=nncf.QuantizationPreset.MIXED)
