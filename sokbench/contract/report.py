"""What the contract found, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    check:    its name
    claim:    the sentence that should be true of the method
    failures: how it is not, one plain sentence each, with the numbers and how to see them; empty if the claim held
    """

    check: str
    claim: str
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All findings about one method."""

    slug: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.failures)

    def text(self) -> str:
        """The report as lines for a terminal: what held, what did not and how to see it."""
        lines = []
        for finding in self.findings:
            lines.append(f"{'FAIL' if finding.failures else 'ok':>4}  {finding.check}: {finding.claim}")
            lines += [f"        - {failure}" for failure in finding.failures]
        if self.ok:
            lines.append(f"{self.slug} keeps the contract: {len(self.findings)} checks held.")
        else:
            lines.append(f"{self.slug} breaks the contract: {len(self.failed)} of {len(self.findings)} checks failed.")
            lines.append(
                'A case that a failure names is at hand as sokbench.contract.cases.case("..."): its .network, .x, '
                ".labels and .ball are the arguments of margins."
            )
        return "\n".join(lines)
