"""Branch and bound by bound propagation: batches of domains, slopes and multipliers optimised together.

A domain fixes the phase of some unstable ReLUs and takes a half of the intervals of some smooth activations. Its bound
is back-substitution with fixed ReLUs exact, the lines of the others free, and a multiplier for every split
(`verifiers.bounds.optimized.sweep`); the bounds of the intermediate layers stay those of the root. The search works in
float32. A domain is closed only by a bound that is computed in float64 and rounded outward from the multipliers that
were found, so every leaf carries its proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.bounds.optimized.ascent import Schedule, ascend
from verifiers.bounds.optimized.relaxed import Relaxed
from verifiers.bounds.optimized.sweep import Relus, Start, Trace, Triangles
from verifiers.lp.input_set import InputSet

from .branching import Branching, choose, scores
from .domains import Columns, Domains, Pool, split_triangles
from .leaf import solve_leaf

Witness = Callable[[Tensor], Tensor | None]
"""Inputs (P, *shape) -> a counterexample among or near them, or None."""

_ENOUGH = 1e-5  # a domain is closed in float32 once its bound is above this share of the root's: float64 shall agree


@dataclass(frozen=True)
class SplitSettings:
    """batch: domains split at once; branching: by which rule; candidates: that kfsb tries; schedule: of a domain. After
    `patience` domains the search goes on only as long as no more than `most` are to be expected in all."""

    batch: int = 64
    branching: Branching = "gap"
    candidates: int = 3
    schedule: Schedule = field(default_factory=lambda: Schedule(8, 0.2, 1.0))
    patience: int = 256
    most: int = 2048


@dataclass(frozen=True)
class Leaf:
    """A closed domain. path: column + 1 of every split on the way, positive for z <= 0 (or the cut); slopes, gammas:
    (width,), of lines below ReLUs and of those taken at smooth activations, and the multipliers, that prove that row
    `target` is at least `bound` > 0 there."""

    target: int
    path: tuple[int, ...]
    bound: float
    slopes: Tensor
    gammas: Tensor


@dataclass(frozen=True)
class SplitResult:
    """bounds: (K,) proved lower bounds of the rows that were closed, elsewhere those it was called with; witness: what
    refutes them; visited: domains bounded; undecided: leaves within rounding of zero; leaves: of the closed rows."""

    bounds: Tensor
    witness: Tensor | None
    visited: int
    undecided: int
    leaves: list[Leaf]


class _Tree:
    """What was split: for each node its parent (-1 for a root) and the signed column + 1, positive for z <= 0."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._splits: list[int] = []

    def add(self, parents: list[int], splits: list[int]) -> Tensor:
        first = len(self._parents)
        self._parents += parents
        self._splits += splits
        return torch.arange(first, first + len(parents))

    def path(self, node: int) -> tuple[int, ...]:
        found = []
        while self._parents[node] >= 0:
            found.append(self._splits[node])
            node = self._parents[node]
        return tuple(reversed(found))


class SplitSearch:
    """One search for all rows of `start` (K rows of the output, float64) over the input set of `state`.

    inputs: the same set as columns of a linear program; witness: judges points; keep: whether leaves are kept.
    """

    def __init__(
        self,
        state: Relaxed,
        columns: Columns,
        start: Start,
        inputs: InputSet,
        witness: Witness,
        settings: SplitSettings,
        keep: bool = False,
    ) -> None:
        self._state, self._start, self._inputs = state, start, inputs
        self._witness, self._settings, self._keep = witness, settings, keep
        self._root = state.triangles(torch.float32)
        self._columns = columns
        self._rough = start.rough(torch.float32)
        self._found: Tensor | None = None
        self._visited = self._undecided = 0
        self._tree, self._leaves = _Tree(), list[Leaf]()
        self._stuck: set[int] = set()

    def run(self, bounds: Tensor, slopes: Relus, gammas: Relus, deadline: Deadline) -> SplitResult:
        """bounds (K,) <= 0 were proved with these slopes and gammas. Ends at the deadline or where patience does."""
        self._closed = torch.full_like(bounds, torch.inf)
        self._enough = _ENOUGH * bounds.abs().float()
        self._share = torch.zeros(len(bounds), dtype=torch.float64)  # of each row's space that is closed
        vectors = self._columns.gather_slopes(slopes, len(bounds)).float()
        weights = self._columns.gather(gammas, len(bounds)).float()
        # the halves that the state has taken are its intervals: they can be split once more
        phase = self._columns.gather({i: s for i, s in self._state.signs.items() if i in self._root.chord}, 1)
        self._depth = int((phase != 0).sum())
        rows = torch.arange(len(bounds))
        pool = Pool(
            Domains(
                bounds.float(), rows, self._tree.add([-1] * len(rows), [0] * len(rows)),
                phase.to(torch.int8).repeat(len(rows), 1), vectors, weights,
            )
        )  # fmt: skip
        while len(pool) and self._found is None and not deadline.expired() and self._promising():
            self._step(pool, deadline)
        left = torch.tensor(sorted({*pool.targets().tolist(), *self._stuck}), dtype=torch.long)
        proved = self._closed.clone()
        proved[left] = bounds[left]
        leaves = [leaf for leaf in self._leaves if proved[leaf.target] > 0]
        return SplitResult(proved, self._found, self._visited, self._undecided, leaves)

    def _promising(self) -> bool:
        """Whether the share of the space that is closed lets expect an end soon."""
        if self._root.curves and self._stuck:
            return False
        if self._visited < self._settings.patience:
            return True
        return self._visited <= self._settings.most * float(self._share.mean())

    def _step(self, pool: Pool, deadline: Deadline) -> None:
        """Split a batch of domains, bound their children, close what can be closed."""
        parents = pool.pop(self._settings.batch)
        column, splittable = self._branch(parents)
        if self._found is not None:
            pool.push(parents)
            return
        for place in (~splittable).nonzero().squeeze(1).tolist():
            self._finish_leaf(parents.take(torch.tensor([place])), deadline)
        parents, column = parents.take(splittable), column[splittable]
        if not len(parents) or self._found is not None:
            return
        children = self._children(parents, column)
        start, relus = self._rough.take(children.target), split_triangles(self._root, self._columns, children.phase)
        gammas, signs = self._split_parts(children, torch.float32)
        enough = self._enough[children.target]
        best = ascend(
            self._state.search, start, relus, self._slopes(children, self._root), gammas, signs,
            self._settings.schedule, lambda bounds, rows: bounds > enough[rows], deadline,
        )  # fmt: skip
        self._visited += len(children)
        found = Domains(
            torch.maximum(children.bound, best.best), children.target, children.node, children.phase,
            self._columns.gather_slopes(best.best_slopes, len(children)),
            self._columns.gather(best.best_gammas, len(children)),
        )  # fmt: skip
        hopeful = best.best > 0
        left = ~hopeful
        left[hopeful] = ~self._close(found.take(hopeful))
        if bool(left.any()):
            pool.push(found.take(left))

    def _branch(self, domains: Domains) -> tuple[Tensor, Tensor]:
        start = self._rough.take(domains.target)
        relus = split_triangles(self._root, self._columns, domains.phase)
        gammas, _ = self._split_parts(domains, torch.float32)
        slopes, trace = self._slopes(domains, self._root), Trace()
        self._state.search.lower(start, relus, slopes, gammas, trace)
        if trace.point is not None:
            self._found = self._witness(trace.point)
        rule, columns = self._settings.branching, self._columns
        estimates = scores(rule, self._state.search, start, trace, relus, columns)

        def attempt(column: Tensor, sign: Tensor) -> Tensor:
            phase = domains.phase.scatter(1, column[:, None], sign[:, None].to(torch.int8))
            child = Domains(domains.bound, domains.target, domains.node, phase, domains.slopes, domains.gammas)
            lines = split_triangles(self._root, self._columns, phase)
            return self._state.search.lower(start, lines, self._slopes(child, self._root), gammas, None)

        return choose(rule, estimates, columns, self._settings.candidates, attempt)

    def _children(self, parents: Domains, column: Tensor) -> Domains:
        both = []
        for sign in (1, -1):
            phase = parents.phase.scatter(1, column[:, None], sign)
            nodes = self._tree.add(parents.node.tolist(), (sign * (column + 1)).tolist())
            both.append(Domains(parents.bound, parents.target, nodes, phase, parents.slopes, parents.gammas))
        first, second = both
        return Domains(*(torch.cat(pair) for pair in zip(vars(first).values(), vars(second).values(), strict=True)))

    def _slopes(self, domains: Domains, root: Triangles) -> Relus:
        """Lower slopes per ReLU node: the found ones at free neurons, the exact ones at fixed neurons; and places."""
        columns, slopes = self._columns, domains.slopes
        fixed = (domains.phase < 0).to(slopes.dtype)
        vectors = torch.where(domains.phase == 0, slopes[:, : columns.width], fixed)
        found = {index: columns.scatter(index, vectors, root.adaptive[index]) for index in root.chord}
        return found | {index: columns.places(index, slopes, root.adaptive[index]) for index in root.curves}

    def _split_parts(self, domains: Domains, dtype: torch.dtype) -> tuple[Relus, Relus]:
        """Multipliers and signs of the nodes where some domain has a fixed phase, or the state a half."""
        gammas, signs = {}, {}
        for index, base in self._root.free.items():
            taken = self._state.signs[index] if index in self._root.curves and index in self._state.signs else None
            if taken is not None or bool(self._columns.part(index, domains.phase).any()):
                zero = torch.zeros_like(base, dtype=dtype)
                gammas[index] = self._columns.scatter(index, domains.gammas, zero)
                signs[index] = self._columns.scatter(index, domains.phase, zero)
                if taken is not None:
                    signs[index] = torch.where(signs[index] == 0, taken.to(dtype), signs[index])
        return gammas, signs

    def _certified(self, domains: Domains) -> Tensor:
        """Bounds (D,) that hold in real arithmetic."""
        bounds = self._state.exact.lower(self._start.take(domains.target), *self._exactly(domains), None)
        return torch.where(bounds.isnan(), -torch.inf, bounds)

    def _exactly(self, domains: Domains) -> tuple[Triangles, Relus, Relus]:
        """Lines, slopes and multipliers in float64."""
        root = self._state.triangles(torch.float64)
        relus = split_triangles(root, self._columns, domains.phase)
        gammas, signs = self._split_parts(domains, torch.float64)
        gammas = {index: (values * signs[index]).clamp(min=0) * signs[index] for index, values in gammas.items()}
        slopes = {index: values.double().clamp(0, 1) for index, values in self._slopes(domains, root).items()}
        return relus, slopes, gammas

    def _close(self, domains: Domains) -> Tensor:
        """Mask (D,) of the domains that are proved."""
        if not len(domains):
            return torch.zeros(0, dtype=torch.bool)
        bounds = self._certified(domains)
        proved = bounds > 0
        targets, found = domains.target[proved], bounds[proved]
        self._closed = self._closed.scatter_reduce(0, targets, found, "amin")
        depth = (domains.phase[proved] != 0).sum(dim=1) - self._depth
        self._share = self._share.scatter_add(0, targets, 0.5 ** depth.double())
        if self._keep and bool(proved.any()):
            self._leaves += self._proofs(domains.take(proved), found)
        return proved

    def _proofs(self, domains: Domains, bounds: Tensor) -> Iterator[Leaf]:
        slopes, gammas = domains.slopes, domains.gammas
        if self._root.curves:  # which line a row took is seen on the way back only; multipliers of signs of their own
            trace, (lines, places, signed) = Trace(), self._exactly(domains)
            self._state.exact.pull(self._start.take(domains.target), lines, places, signed, trace)
            taken = {index: trace.slopes[index][0] for index in self._root.curves if index in trace.slopes}
            slopes = self._columns.gather_lines(slopes, taken)
            gammas = self._columns.gather(signed, len(domains)).to(gammas.dtype)
        for place, (target, node, bound) in enumerate(
            zip(domains.target.tolist(), domains.node.tolist(), bounds.tolist(), strict=True)
        ):
            yield Leaf(target, self._tree.path(node), bound, slopes[place].clone(), gammas[place].clone())

    def _finish_leaf(self, domain: Domains, deadline: Deadline) -> None:
        """Decide a domain without free neurons by a linear program; where smooth activations are left, it cannot be."""
        if self._root.curves:
            self._undecided += 1
            self._stuck.add(int(domain.target))
            return
        root = self._state.triangles(torch.float64)
        relus, start = split_triangles(root, self._columns, domain.phase), self._start.take(domain.target)
        answer = solve_leaf(self._state, self._columns, start, relus, domain.phase[0], self._inputs, deadline)
        for gammas in answer.gammas:
            tried = Domains(
                domain.bound, domain.target, domain.node, domain.phase, domain.slopes.double(), gammas[None]
            )
            if bool(self._close(tried).all()):
                return
        if answer.point is not None:
            point = torch.tensor(answer.point).reshape(1, *self._state.graph.input_shape)
            self._found = self._witness(point)
        if self._found is None:
            self._undecided += 1
            self._stuck.add(int(domain.target))
