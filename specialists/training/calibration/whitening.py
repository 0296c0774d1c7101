"""The linear map under which deviations have unit covariance."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor


def whitening_of(centred: npt.NDArray[np.float64]) -> Tensor:
    """Return the (D, D) map under which (N, D) deviations have unit covariance."""
    covariance = LedoitWolf(assume_centered=True).fit(centred).covariance_
    scale, axes = np.linalg.eigh(covariance)
    whitening = axes / np.sqrt(np.maximum(scale, scale.max() * 1e-7))
    return torch.from_numpy(np.ascontiguousarray(whitening)).float()
