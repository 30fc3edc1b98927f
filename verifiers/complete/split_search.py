"""Branch and bound on ReLU phases by bound propagation: batches of domains, slopes and multipliers optimised together.

A domain fixes the phase of some unstable neurons. Its bound is back-substitution with the fixed neurons exact, the
slopes of the others free, and a multiplier for every fixed phase (`verifiers.bounds.optimized`); the bounds of the
intermediate layers stay those of the root. The search works in float32. A domain is closed only by a bound that is
computed in float64 and rounded outward from the multipliers that were found, so every leaf carries its proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.bounds.optimized import Relus, Start, Trace, Triangles
from verifiers.bounds.optimized_ascent import Schedule, ascend
from verifiers.bounds.optimized_bounds import Relaxed
from verifiers.lp.input_set import InputSet

from .branching import choose, scores
from .domains import Columns, Domains, Pool, split_triangles
from .leaf import solve_leaf

Witness = Callable[[Tensor], Tensor | None]
"""Inputs (P, *shape) -> a counterexample among or near them, or None."""

_ENOUGH = 1e-5  # a domain is closed in float32 once its bound is above this share of the root's: float64 shall agree


@dataclass(frozen=True)
class SplitSettings:
    """batch: domains split at once; candidates: of each branching estimate that are tried; schedule: of a domain."""

    batch: int = 64
    candidates: int = 3
    schedule: Schedule = Schedule(12, 0.2, 0.5)


@dataclass
class Tree:
    """What was split: for each node its parent, column and sign (+1: z <= 0, -1: z >= 0). The first nodes are the
    roots, one per row that was open (their parent is -1, the column says which row)."""

    parents: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)

    def add(self, parents: list[int], columns: list[int], sign: int) -> Tensor:
        first = len(self.parents)
        self.parents += parents
        self.columns += columns
        self.signs += [sign] * len(parents)
        return torch.arange(first, first + len(parents))


@dataclass(frozen=True)
class Leaf:
    """A closed domain: its place in the tree and the multipliers (width,) that prove `bound` > 0."""

    node: int
    target: int
    bound: float
    slopes: Tensor
    gammas: Tensor


@dataclass(frozen=True)
class SplitResult:
    """bounds: (K,) proved lower bounds of the rows; visited: domains bounded; left: domains open; undecided: leaves
    within rounding of zero; leaves: the closed ones, if they were to be kept."""

    bounds: Tensor
    witness: Tensor | None
    visited: int
    left: int
    undecided: int
    tree: Tree
    leaves: list[Leaf]


class SplitSearch:
    """One search for all rows of `start` (K rows of the output, float64) over the input set of `state`.

    inputs: the same set as columns of a linear program; witness: judges points; keep: whether leaves are kept.
    """

    def __init__(
        self, state: Relaxed, start: Start, inputs: InputSet, witness: Witness, settings: SplitSettings, keep: bool
    ) -> None:
        self._state, self._start, self._inputs = state, start, inputs
        self._witness, self._settings, self._keep = witness, settings, keep
        self._root = state.triangles(torch.float32)
        self._columns = Columns.of(self._root.free)
        self._rough = Start(start.index, start.rows.float(), start.constants.float())
        self._found: Tensor | None = None
        self._visited = self._undecided = 0
        self.tree, self.leaves = Tree(), list[Leaf]()

    def run(self, bounds: Tensor, slopes: Relus, deadline: Deadline, reserve: float) -> SplitResult:
        """bounds (K,): proved already, slopes: those that proved them; reserve: seconds kept to prove what is open."""
        self._closed = bounds.clone()
        rows = (bounds <= 0).nonzero().squeeze(1)
        self._enough = _ENOUGH * bounds.abs().float()
        vectors = self._columns.gather({i: values.expand(len(bounds), *values.shape[1:]) for i, values in slopes.items()})
        nodes = self.tree.add([-1] * len(rows), rows.tolist(), 0)
        self._closed[rows] = torch.inf
        pool = Pool(
            Domains(
                bounds[rows].float(), rows, nodes,
                torch.zeros(len(rows), self._columns.width, dtype=torch.int8),
                vectors[rows].float(), torch.zeros(len(rows), self._columns.width),
            )
        )  # fmt: skip
        while len(pool) and self._found is None and deadline.remaining() > reserve:
            self._step(pool, deadline)
        proved = torch.minimum(self._closed, self._open_bounds(pool, bounds, deadline))
        return SplitResult(
            proved, self._found, self._visited, len(pool), self._undecided, self.tree, self.leaves
        )

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
            self._columns.gather(best.best_slopes),
            self._columns.gather(best.best_gammas) if gammas else children.gammas,
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
        estimates = scores(self._state.search, start, trace, relus, self._columns)

        def attempt(column: Tensor, sign: Tensor) -> Tensor:
            phase = domains.phase.scatter(1, column[:, None], sign[:, None].to(torch.int8))
            child = Domains(domains.bound, domains.target, domains.node, phase, domains.slopes, domains.gammas)
            lines = split_triangles(self._root, self._columns, phase)
            return self._state.search.lower(start, lines, self._slopes(child, self._root), gammas, None)

        return choose(estimates, self._settings.candidates, attempt)

    def _children(self, parents: Domains, column: Tensor) -> Domains:
        both = []
        for sign in (1, -1):
            phase = parents.phase.scatter(1, column[:, None], sign)
            nodes = self.tree.add(parents.node.tolist(), column.tolist(), sign)
            both.append(Domains(parents.bound, parents.target, nodes, phase, parents.slopes, parents.gammas))
        first, second = both
        return Domains(*(torch.cat(pair) for pair in zip(vars(first).values(), vars(second).values(), strict=True)))

    def _slopes(self, domains: Domains, root: Triangles) -> Relus:
        """Lower slopes per ReLU node: the found ones at free neurons, the exact ones at fixed neurons."""
        fixed = (domains.phase < 0).to(domains.slopes.dtype)
        vectors = torch.where(domains.phase == 0, domains.slopes, fixed)
        return {index: self._columns.scatter(index, vectors, base) for index, base in root.adaptive.items()}

    def _split_parts(self, domains: Domains, dtype: torch.dtype) -> tuple[Relus, Relus]:
        """Multipliers and signs of the ReLU nodes where some domain has a fixed phase."""
        gammas, signs = {}, {}
        for index, base in self._root.adaptive.items():
            if bool(self._columns.part(index, domains.phase).any()):
                zero = torch.zeros_like(base, dtype=dtype)
                gammas[index] = self._columns.scatter(index, domains.gammas, zero)
                signs[index] = self._columns.scatter(index, domains.phase, zero)
        return gammas, signs

    def certified(self, domains: Domains) -> Tensor:
        """Bounds (D,) that hold in real arithmetic."""
        root = self._state.triangles(torch.float64)
        relus = split_triangles(root, self._columns, domains.phase)
        gammas, signs = self._split_parts(domains, torch.float64)
        gammas = {index: (values * signs[index]).clamp(min=0) * signs[index] for index, values in gammas.items()}
        slopes = {index: values.clamp(0, 1) for index, values in self._slopes(domains, root).items()}
        bounds = self._state.exact.lower(self._start.take(domains.target), relus, slopes, gammas, None)
        return torch.where(bounds.isnan(), -torch.inf, bounds)

    def _close(self, domains: Domains) -> Tensor:
        """Mask (D,) of the domains that are proved."""
        if not len(domains):
            return torch.zeros(0, dtype=torch.bool)
        bounds = self.certified(domains)
        proved = bounds > 0
        self._closed = self._closed.scatter_reduce(0, domains.target[proved], bounds[proved], "amin")
        if self._keep:
            for place in proved.nonzero().squeeze(1).tolist():
                self.leaves.append(
                    Leaf(
                        int(domains.node[place]), int(domains.target[place]), float(bounds[place]),
                        domains.slopes[place].clone(), domains.gammas[place].clone(),
                    )
                )  # fmt: skip
        return proved

    def _finish_leaf(self, domain: Domains, deadline: Deadline) -> None:
        """Decide a domain without free neurons by a linear program."""
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
            self._closed[domain.target] = torch.minimum(self._closed[domain.target], self.certified(domain))

    def _open_bounds(self, pool: Pool, root: Tensor, deadline: Deadline) -> Tensor:
        """(K,) what is proved of the domains left open: their own bounds, or the root's if time runs out."""
        open_ = torch.full_like(root, torch.inf)
        if not len(pool):
            return open_
        domains = pool.everything()
        for part in torch.arange(len(domains)).split(self._settings.batch * 2):
            chosen = domains.take(part)
            late = deadline.expired()
            bounds = root[chosen.target] if late else torch.maximum(self.certified(chosen), root[chosen.target])
            open_ = open_.scatter_reduce(0, chosen.target, bounds, "amin")
        return open_
