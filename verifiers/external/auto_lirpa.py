"""auto_LiRPA: linear relaxation of general computational graphs, by the library of its authors.

The relaxation is the library's own, chosen by the parameter `algorithm`, one of the names its `compute_bounds` takes
(see `ALGORITHMS`). Sound in real arithmetic for the layers the library knows; its float32 rounding is not accounted
for, neither there nor here, so its margins are claims of the library. l_inf (with the box), l2 and l1 balls (without
it, which is sound and looser). Cost: the library's; the network is traced in every call, since what the library traced
holds the results of its last call.

The package is not on PyPI in a version for current torch; where it is not importable, or fails while it is imported,
every question is `Unsupported` with the reason. Written against the public interface of versions 0.3 to 0.7:
BoundedModule, BoundedTensor, PerturbationLpNorm, compute_bounds.

K. Xu, Z. Shi, H. Zhang et al.: Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond. 2020.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from sokbench.core.deadline import Deadline
from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.method import BoundingVerifier, MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball

ALGORITHMS: Final = (
    "IBP",
    "CROWN",
    "CROWN-IBP",
    "CROWN-Optimized",
    "forward",
    "forward+backward",
    "dynamic-forward",
    "dynamic-forward+backward",
)


@final
class AutoLirpa(BoundingVerifier):
    """auto_LiRPA. algorithm: one of `ALGORITHMS`; iterations: of CROWN-Optimized; relu: its activation_bound_option,
    the lower line of ReLU (adaptive, zero-lb, one-lb, same-slope)."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="auto_lirpa",
        title="auto_LiRPA",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="The library of CROWN's authors: interval, backward, forward and optimised linear bounds.",
        paper="K. Xu, Z. Shi, H. Zhang et al.: Automatic Perturbation Analysis for Scalable Certified Robustness and "
        "Beyond. NeurIPS 2020",
        url="https://arxiv.org/abs/2002.12920",
    )

    def __init__(self, algorithm: str = "CROWN", iterations: int = 20, relu: str = "adaptive") -> None:
        if algorithm not in ALGORITHMS:
            raise InvalidInput(f"auto_lirpa has no algorithm {algorithm!r}; choose from {', '.join(ALGORITHMS)}")
        if iterations < 1:
            raise InvalidInput(f"iterations must be at least 1, not {iterations}")
        self.algorithm, self.iterations, self.relu = algorithm, iterations, relu

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        import torch

        library = _library()
        self.check_norm(ball)
        x = x.float()
        differences = _differences(labels, network.num_classes)
        bounded = self._module(library, network, x)
        point = library.BoundedTensor(x, _perturbation(library, x, ball))
        deadline.check()
        lower, _ = bounded.compute_bounds(x=(point,), C=differences, method=self.algorithm, bound_upper=False)
        margins: Tensor = lower.detach().double().cpu()
        return margins.scatter(1, labels[:, None], torch.inf)

    def _module(self, library: Any, network: Network, x: Tensor) -> Any:
        """The library's form of the network."""
        import copy

        options = {"optimize_bound_args": {"iteration": self.iterations}, "activation_bound_option": self.relu}
        module = copy.deepcopy(network.module).float().eval()
        return library.BoundedModule(module, x[:1], bound_opts=options, device="cpu")


def _library() -> Any:
    try:
        return importlib.import_module("auto_LiRPA")
    except ImportError as error:
        raise Unsupported(f"the package auto_LiRPA cannot be imported ({error}); see its authors' page") from None
    except Exception as error:  # versions for older torch fail while they are imported, in several ways
        raise Unsupported(f"the installed auto_LiRPA does not work here: {type(error).__name__}: {error}") from None


def _differences(labels: Tensor, classes: int) -> Tensor:
    """C with C f = (f_y - f_j) over all j, shape (B, C, C); the row of the label is zero."""
    import torch

    identity = torch.eye(classes)
    return identity[labels][:, None, :] - identity[None].expand(len(labels), classes, classes)


def _perturbation(library: Any, x: Tensor, ball: Ball) -> Any:
    """The ball in the library's words, for l_inf cut with the box and rounded outward in float32."""
    import torch

    if ball.norm != "linf":
        return library.PerturbationLpNorm(norm={"l2": 2.0, "l1": 1.0}[ball.norm], eps=ball.radius)
    lower = torch.nextafter(x - ball.radius, torch.tensor(-torch.inf))
    upper = torch.nextafter(x + ball.radius, torch.tensor(torch.inf))
    lower = lower if ball.low is None else lower.clamp(min=ball.low)
    upper = upper if ball.high is None else upper.clamp(max=ball.high)
    return library.PerturbationLpNorm(norm=float("inf"), x_L=lower, x_U=upper)
