"""The command `sokbench`. Verbs live in `sokbench.commands` and are imported on use, so that `--help` is instant."""

from __future__ import annotations

import importlib
import sys
from typing import NamedTuple

import click

from . import __version__
from .core.errors import InvalidInput, Unsupported


class Verb(NamedTuple):
    module: str
    help: str


VERBS = {
    "run": Verb("run", "Run a suite: plan it, run what is missing, resume what was stopped."),
    "status": Verb("status", "Show what of a suite is recorded, missing and stale."),
    "verify": Verb("verify", "Verify one input of a network with one method."),
    "certify": Verb("certify", "Certify one input of a smoothed network."),
    "list": Verb("list", "List methods, models, data sets and suites."),
    "info": Verb("info", "Explain one method, model, data set or suite."),
    "audit": Verb("audit", "Check recorded answers against each other and every witness again."),
    "tables": Verb("tables", "Write the paper tables from recorded and published results."),
    "site": Verb("site", "Build the static pages from recorded and published results."),
    "export": Verb("export", "Write recorded rows as Parquet or CSV."),
    "leaderboard": Verb("leaderboard", "Check the published records, or add one."),
    "import-log": Verb("import_log", "File somebody's certification log as published rows."),
    "doctor": Verb("doctor", "Say which solvers, licences, devices and data sets are usable."),
    "check-method": Verb("check_method", "Run the contract tests on a method in a file of your own."),
    "check-proof": Verb("check_proof", "Check the proof that a branch and bound wrote, with separate arithmetic."),
}


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are called; their one-line help is in `VERBS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"sokbench.commands.{VERBS[name].module}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with `sokbench doctor`, then `sokbench run smoke`. Every command has its own --help with examples.",
)
@click.version_option(__version__, prog_name="sokbench")
def cli() -> None:
    """Benchmark of certified robustness: verifiers and smoothing certifiers on the same inputs, within limits."""


def main() -> None:
    """Entry point. Bad input ends with one line on standard error and exit code 2; an interruption with 130."""
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except InvalidInput as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except Unsupported as reason:
        click.echo(f"unsupported: {reason}", err=True)
        sys.exit(3)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was recorded is kept, and the same command goes on from there", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # the reader of our output went away (`sokbench list | head`): nothing is wrong
        sys.stderr.close()
        sys.exit(0)
