"""Muon: momentum whose update is orthogonalised, for the weights of convolutions.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale of the update
follows Liu et al., "Muon is scalable for LLM training", 2025, so that a rate means about what it means for AdamW.
"""

from collections.abc import Iterable

import torch

# Newton-Schulz iteration of degree 5 that drives all singular values to about 1; coefficients of the first source.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Each parameter is taken as a matrix (first axis, all other axes)."""

    def __init__(
        self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                ahead = parameter.grad + group["momentum"] * state["momentum"]
                matrix = ahead.reshape(len(ahead), -1)
                step = 0.2 * max(matrix.shape) ** 0.5 * group["lr"]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(orthogonalised(matrix).reshape(parameter.shape), alpha=step)


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with its singular values moved to about 1 (between 0.7 and 1.2)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
