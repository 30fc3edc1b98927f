"""Any tool of VNN-COMP, driven through its three scripts.

The question is put as VNN-COMP puts it: an ONNX file and a VNN-LIB file. Where the network came from an ONNX file that
is used as it is; otherwise the network is written as ONNX (`onnx_export`), exactly or not at all. An l_inf ball becomes
a box that contains it. `prepare_instance.sh` and `run_instance.sh` are run with the tool's whole process tree limited
and ended; `install_tool.sh` is the user's to run, once.

What an answer is worth: a counterexample is judged again by the caller like any other witness, and "violated" without
one is unknown. "Holds" is the tool's word: whether its arithmetic is sound is its own affair, and the audit confronts
it with all counterexamples. Cost: the tool's.

The tool is described by a TOML file, whose path is the parameter `config`:

    name = "nnenum"                  # for people
    scripts = "~/nnenum/vnncomp"     # the folder with the three scripts; relative to the file
    category = "test"                # what the scripts are given as benchmark category
    prepare_seconds = 60.0           # limit of prepare_instance.sh, default 60; counts as time of the instance
    environment = { OMP_NUM_THREADS = "1" }

S. Bak, C. Liu, T. Johnson: The Second International Verification of Neural Networks Competition. 2021.
"""

from __future__ import annotations

import gzip
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

import msgspec

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.method import MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict
from sokbench.core.property_method import PropertyVerifier
from sokbench.core.vnnlib_text import read_counterexample, write_property

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.property import Property

_VERSION = "v1"
# results files hold one of these words, since 2022 sat and unsat
_HOLDS, _VIOLATED = ("holds", "unsat"), ("violated", "sat")
_LEAST_SECONDS, _MOST_SECONDS = 1.0, 1e6


class ToolFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TOML file of a tool, see above."""

    name: str
    scripts: str
    category: str = "sokbench"
    prepare_seconds: float = 60.0
    environment: dict[str, str] = {}


@final
@dataclass(frozen=True)
class VnncompTool(PropertyVerifier):
    """A tool of VNN-COMP. config: path to its TOML file."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="vnncomp_tool",
        title="Tool of VNN-COMP",
        kind="verifier",
        family="branch and bound",
        norms=("linf",),
        summary="Asks any tool that has the three scripts of VNN-COMP, and judges its counterexamples again.",
        paper="S. Bak, C. Liu, T. Johnson: The Second International Verification of Neural Networks Competition. 2021",
        url="https://arxiv.org/abs/2109.00498",
    )

    config: str = ""

    def decide_property(self, network: Network, asked: Property, deadline: Deadline, onnx: Path | None) -> Outcome:
        tool, scripts = self._tool()
        with tempfile.TemporaryDirectory(prefix="sokbench-") as temporary:
            folder = Path(temporary)
            onnx = _plain_file(network, onnx, folder)
            spec, results = folder / "property.vnnlib", folder / "results.txt"
            spec.write_text(write_property(asked), encoding="utf-8")
            question = (_VERSION, tool.category, str(onnx.resolve()), str(spec))
            prepare = min(tool.prepare_seconds, deadline.remaining())
            outcome = self._run(scripts / "prepare_instance.sh", question, folder, tool, prepare)
            if outcome is not None:
                return outcome
            left = deadline.remaining()
            arguments = (*question, str(results), f"{min(max(_LEAST_SECONDS, left), _MOST_SECONDS):.0f}")
            outcome = self._run(scripts / "run_instance.sh", arguments, folder, tool, left)
            # a tool may have written its answer and hang while it tidies up
            return _parsed(results, network, asked) or outcome or _failed(f"{tool.name} left no results file")

    def _tool(self) -> tuple[ToolFile, Path]:
        if not self.config:
            raise Unsupported("no tool is named: give config=tool.toml, which says where its three scripts are")
        path = Path(self.config).expanduser()
        try:
            tool = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), ToolFile)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise InvalidInput(f"{path.name} describes no tool: {error}") from None
        scripts = (path.parent / Path(tool.scripts).expanduser()).resolve()
        for name in ("prepare_instance.sh", "run_instance.sh"):
            if not (scripts / name).is_file():
                raise InvalidInput(f"{path.name}: there is no {name} in the folder given as scripts")
        return tool, scripts

    def _run(
        self, script: Path, arguments: tuple[str, ...], folder: Path, tool: ToolFile, seconds: float
    ) -> Outcome | None:
        """None if the script ended with 0, otherwise why there is no answer."""
        from .processes import run_tree

        try:
            ended = run_tree(["bash", str(script), *arguments], folder, tool.environment, seconds)
        except OSError as error:
            return _failed(f"{script.name} of {tool.name} cannot be run: {error}")
        if ended.code is None:
            return Outcome(Verdict.UNKNOWN, termination=Termination.TIMEOUT, stats={"tool": tool.name})
        if ended.code != 0:
            last = (ended.log.strip().splitlines() or ["it printed nothing"])[-1]
            return _failed(f"{script.name} of {tool.name} ended with {ended.code}: {last[:200]}")
        return None


def _plain_file(network: Network, onnx: Path | None, folder: Path) -> Path:
    """The network as an uncompressed ONNX file."""
    from .onnx_export import onnx_bytes

    if onnx is not None and onnx.suffix != ".gz":
        return onnx
    written = folder / "network.onnx"
    written.write_bytes(onnx_bytes(network) if onnx is None else gzip.decompress(onnx.read_bytes()))
    return written


def _failed(reason: str) -> Outcome:
    return Outcome(Verdict.UNKNOWN, termination=Termination.CRASHED, stats={"reason": reason})


def _parsed(results: Path, network: Network, asked: Property) -> Outcome | None:
    """What a results file says; None if there is none yet."""
    import torch

    text = results.read_text(encoding="utf-8", errors="replace") if results.is_file() else ""
    word, _, rest = text.strip().partition("\n")
    word = word.strip().lower()
    if not word:
        return None
    stats = {"tool_says": word[:40]}
    if word in _HOLDS:
        return Outcome(Verdict.VERIFIED, stats=stats)
    if word in _VIOLATED:
        try:
            x = read_counterexample(rest)
        except InvalidInput as error:
            return Outcome(Verdict.UNKNOWN, stats={**stats, "reason": f"no counterexample to judge: {error}"})
        if x.size != asked.inputs:
            reason = f"its counterexample has {x.size} inputs, not {asked.inputs}"
            return Outcome(Verdict.UNKNOWN, stats={**stats, "reason": reason})
        return Outcome(Verdict.FALSIFIED, witness=torch.tensor(x).reshape(network.input_shape).float(), stats=stats)
    if word == "timeout":
        return Outcome(Verdict.UNKNOWN, termination=Termination.TIMEOUT, stats=stats)
    return Outcome(Verdict.UNKNOWN, stats=stats) if word == "unknown" else _failed(f"the tool says {word[:40]!r}")
