"""Clean accuracy as a method: the baseline that every certified accuracy is compared with.

It is filed as an attack that does not move: its answer is the input itself, so a problem is falsified exactly if the
network misclassifies the unperturbed input (the base class judges that, in float64). Sound for every network and norm
in the only sense an attack can be; one forward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.deadline import Deadline
from sokbench.core.method import Attack, MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.problem import Problem


class Clean(Attack):
    """The attack of radius 0; without parameters."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="clean",
        title="Clean accuracy",
        kind="attack",
        family="baseline",
        norms=("linf", "l2", "l1", "l0"),
        summary="Looks only at the unperturbed input: its accuracy bounds every other from above.",
        paper="Li, Xie, Li: SoK: Certified Robustness for Deep Neural Networks, IEEE S&P 2023",
        url="https://arxiv.org/abs/2009.04131",
    )

    def search(self, problem: Problem, deadline: Deadline) -> Tensor:
        return problem.x
