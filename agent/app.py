"""The entry point of the agent: reads the configuration, runs the command, and is the only place
that catches errors.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from fleetctl.core.model.errors import FleetError

from .config import AgentConfig, read_config
from .host import failpoints
from .host.log import INTERNAL_ERROR, traceback_text
from .state.directory import refuse_unsafe
from .upgrade import launcher, release_keys
from .upgrade.trial_run import run_trial
from .version import version

BUG, INTERRUPTED = 70, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: that of the error's class, 70 for a defect of the agent, or 0 when
    it was told to stop.
    """
    try:
        config = read_config(sys.argv[1:] if argv is None else argv)
        failpoints.arm(config.environment.failpoints, config.environment.failpoints_log)
        return _run_command(config)
    except FleetError as error:
        lines = [f"error: {error.summary}", error.subject, error.next_step]
        print("\n  ".join(line for line in lines if line), file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        print(
            f"error: {error.strerror}: {error.filename}\n  Look at the disk and at the rights of"
            " --state-dir.",
            file=sys.stderr,
        )
        return 1
    except Exception as error:
        print(f"{traceback_text(error)}\nerror: {INTERNAL_ERROR}.", file=sys.stderr)
        return BUG


def _run_command(config: AgentConfig) -> int:
    """Each command imports only what it needs: an agent that runs keeps what it has imported."""
    match config.command:
        case "run":
            return _run_agent(config)
        case "enrol":
            from .enroll.command import enrol_agent

            return asyncio.run(enrol_agent(config))
        case "selftest":
            from .diagnostics.selftest import selftest

            asyncio.run(selftest(config))
            return 0
        case "status":
            from .diagnostics.status import show

            print(show(config))
            return 0
        case "check":
            from .diagnostics.check import run_check

            text, status = run_check(config)
            print(text)
            return status
        case _:
            print(f"fleet-agent {version()}")
            return 0


def _run_agent(config: AgentConfig) -> int:
    """Run the chosen version of the agent. A version that gives way to another one starts again."""
    refuse_unsafe(config.state_dir, is_in_pod=config.environment.is_in_pod)
    if config.release_keys:
        release_keys.pin(config.state_dir, config.release_keys)
    status = launcher.start(config, run_trial)
    if status is None:
        from .run import run_agent

        status = asyncio.run(run_agent(config))
    return launcher.again(config) if status == launcher.AGAIN else status
