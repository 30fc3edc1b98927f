"""`sokbench audit`: recorded answers against each other, every witness evaluated again."""

from __future__ import annotations

from pathlib import Path

import click

from .options import examples, json_option, print_json, results_option


@click.command("audit")
@click.argument("suites", nargs=-1)
@results_option
@json_option
@examples("sokbench audit", "sokbench audit quick --json")
def command(suites: tuple[str, ...], results: Path, as_json: bool) -> int:
    """Check the recorded rows of SUITES (all by default). Exit code 1 if an answer is wrong; warnings do not count.

    Every witness is evaluated again in float64; every "verified" and every bound is confronted with all witnesses and
    attacks of all methods. What is found is kept in audit.json beside the runs, for the pages.
    """
    from .. import journal
    from ..audit import audit
    from ..audit.report import write_report
    from ..core.errors import UnknownName
    from ..measured.cells import recorded_suites

    recorded = recorded_suites(results)
    for suite in suites:
        if suite not in recorded:
            raise UnknownName("recorded suite", suite, recorded)
    findings = {}
    for suite in suites or recorded:
        rows = journal.read_rows(results, suite)
        findings[suite] = audit(rows)
        write_report(results, suite, rows, findings[suite])
    errors = sum(finding.severity == "error" for found in findings.values() for finding in found)
    if as_json:
        print_json(findings)
        return 1 if errors else 0
    for suite, found in findings.items():
        for finding in found:
            colour = "red" if finding.severity == "error" else "yellow"
            place = f"{finding.model}, input {finding.index} of {finding.dataset}"
            click.echo(f"{click.style(finding.severity, fg=colour)}: {place}: {finding.message}")
        count = sum(finding.severity == "error" for finding in found)
        click.echo(f"audit of {suite}: " + (f"{count} errors" if count else "clean") + _warnings(len(found) - count))
    return 1 if errors else 0


def _warnings(count: int) -> str:
    return f", {count} warnings" if count else ""
