"""What a network learns from: labels, and the outputs of a larger network."""

from __future__ import annotations

import torch
from torch.nn import functional


class ClassLoss:
    """Cross entropy against labels, and the divergence from a teacher's probabilities (Hinton et al., 1503.02531)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing

    def hard(self, output: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Against labels."""
        assert labels is not None
        return functional.cross_entropy(output, labels, label_smoothing=self._label_smoothing)

    def soft(self, output: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Against a teacher's output, mean over the samples."""
        return functional.kl_div(output.log_softmax(1), teacher.softmax(1), reduction="batchmean")


class EmbeddingLoss:
    """One minus the cosine to a teacher's embedding; labels say nothing about an embedding."""

    def hard(self, output: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Nothing."""
        return output.new_zeros(())

    def soft(self, output: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Against a teacher's output, mean over the samples."""
        return (1 - functional.cosine_similarity(output, teacher, dim=1)).mean()


Loss = ClassLoss | EmbeddingLoss
