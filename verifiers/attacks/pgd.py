"""Projected gradient descent (Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018).

Nothing is relaxed and nothing is proved: the attack looks for an input of the ball that is misclassified, and its
success rate bounds the certified accuracy of every sound verifier from above. Each step moves along the steepest
descent direction of the norm (l_inf: the sign of the gradient; l2: the normalized gradient; l1: the steepest 1% of the
coordinates) and is projected back to the ball and the box. It descends on the margin min_j f_y - f_j rather than on
the cross entropy: the gradient of the latter vanishes on networks that are confident. One descent starts at the input,
the others at random points of the ball, and each of those aims at one wrong class (Gowal et al., arXiv:1910.09338).
Steps shrink linearly, so that the first ones cross the ball and the last ones settle. Needs gradients of the network
with respect to its input; any layers.

Cost: (steps + 1) forward and `steps` backward passes of `restarts` inputs; 10 restarts aim at all classes of 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.deadline import Deadline
from sokbench.core.errors import InvalidInput
from sokbench.core.method import Attack, MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.problem import Problem


class PGD(Attack):
    """steps: of each descent; relative_step: length of the first step over the radius; restarts: descents, the second
    aims at the likeliest wrong class, the third at the next, and so on; seed: of the random starts.
    `search` returns the best point seen, misclassified or not; the base class judges."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="pgd",
        title="PGD attack",
        kind="attack",
        family="attack",
        norms=("linf", "l2", "l1"),
        summary="Looks for a misclassified input in the ball by projected gradient descent on the margin.",
        paper="Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks, "
        "ICLR 2018",
        url="https://arxiv.org/abs/1706.06083",
    )

    def __init__(self, steps: int = 100, relative_step: float = 0.1, restarts: int = 10, seed: int = 0) -> None:
        if steps < 1 or restarts < 1 or not relative_step > 0:
            raise InvalidInput(
                f"pgd needs steps >= 1, restarts >= 1 and relative_step > 0, not {steps}, {restarts}, {relative_step}"
            )
        self.steps, self.relative_step, self.restarts, self.seed = steps, relative_step, restarts, seed

    def search(self, problem: Problem, deadline: Deadline) -> Tensor:
        import torch

        from .descent import attacked_margins

        module = problem.network.module
        types = {tensor.dtype for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()}
        # where types are mixed, the wider tensors are scales, which adapt to their input
        dtype = min(types, key=lambda each: each.itemsize, default=problem.x.dtype)
        points, _ = attacked_margins(
            lambda points: problem.network(points.to(dtype)),
            problem.x[None],
            torch.tensor([problem.label]),
            problem.ball,
            self._step_sizes(problem.ball.radius),
            self.restarts,
            self.seed,
            deadline,
        )
        return points[0]

    def _step_sizes(self, radius: float) -> list[float]:
        return [self.relative_step * radius * (1.0 - step / self.steps) for step in range(self.steps)]
