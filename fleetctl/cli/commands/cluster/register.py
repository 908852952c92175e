"""`fleetctl cluster register`: prints the steps that let an agent join."""

from __future__ import annotations

from shlex import quote
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, Output, Workspace, labels_of, seconds
from fleetctl.cli.session import open_session

_NAMESPACE, _TOKEN_SECRET = "fleet-agent", "fleet-agent-token"
_STATE, _PROGRAM = "/var/lib/fleet-agent", "/usr/local/bin/fleet-agent.pyz"


def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the cluster.")],
    label: Annotated[
        list[str] | None, typer.Option("-l", "--label", metavar="K=V", help="Label of the cluster.")
    ] = None,
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long the token is valid.")] = "1h",
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help=("If the name is in use, revoke the key of the old agent. The history stays."),
        ),
    ] = False,
    helm: Annotated[
        bool,
        typer.Option(
            "--helm",
            help="Print how to run the agent as a Pod, with the chart in examples/agent-chart.",
        ),
    ] = False,
    token_only: Annotated[bool, typer.Option("--token-only", help="Print only the token.")] = False,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Register a cluster: print the commands that install its agent, with a token."""
    from fleetctl.client import place

    body = {
        "labels": labels_of(label or []),
        "ttlSeconds": int(seconds(ttl, option="--ttl")),
        "replace": replace,
    }
    with open_session(context, workspace) as session:
        path = place("clusters", session.workspace, name).removeprefix("objects/")
        registration = session.client.call("POST", f"{path}/register", body)
    if token_only:
        out.line(registration["token"])
    elif output in {Format.JSON, Format.YAML}:
        out.document(registration, output)
    elif helm:
        for text in helm_instructions(name, registration):
            out.line(text)
    else:
        for text in instructions(name, registration):
            out.line(text)
        if not registration.get("agentSha256"):
            out.say(
                "This manager has no fleet-agent.pyz. Install fleetctl on the node, which"
                " includes fleet-agent, or put"
            )
            out.say("the file that `make agent` makes into the manager's DATA_DIR/install/.")


# The most useful ones of examples/systemd/fleet-agent.service, which has them all.
_PROPERTIES = " ".join(
    f"-p {setting}"
    for setting in (
        "Type=notify",
        "Restart=always",
        "RestartSec=5",
        "StartLimitIntervalSec=0",
        "WatchdogSec=60",
        "MemoryMax=2G",
        "TasksMax=512",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        f"ReadWritePaths={_STATE}",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
    )
)


def instructions(name: str, registration: dict[str, Any]) -> list[str]:
    """Two steps, run as root on the node: fetch and enrol, then run.

    The first is one command joined by `&&`, so that the token never meets a program whose SHA-256
    is another. The token goes by standard input: it stands in no command line, no unit and no
    journal.
    """
    expires = registration["expires"]
    url, pin = quote(str(registration["url"])), quote(str(registration["caPin"]))
    sha256 = registration.get("agentSha256") or ""
    agent = f"python3 {_PROGRAM}" if sha256 else "fleet-agent"
    lines = [
        f"# On the node of cluster {name}, as root. The token works once, until {expires}.",
        "",
    ]
    if sha256:
        path = quote(str(registration["agentPath"]))
        lines += [
            "# 1. Fetch the agent, check it, and enrol (-k: the next line checks the file)",
            f"curl -fsSk -o {_PROGRAM}.new {url}{path} &&",
            f"echo {quote(sha256)}' *{_PROGRAM}.new' | sha256sum -c --quiet &&",
            f"mv {_PROGRAM}.new {_PROGRAM} &&",
        ]
    else:
        lines += ["# 1. Enrol"]
    lines += [
        f"{agent} enrol {url} --ca-pin {pin} --token-stdin --state-dir {_STATE} <<'TOKEN'",
        str(registration["token"]),
        "TOKEN",
        "",
    ]
    absolute = f"/usr/bin/{agent}" if sha256 else f'"$(command -v {agent})"'
    lines += [
        "# 2. Run it, under systemd",
        f"systemd-run --unit=fleet-agent {_PROPERTIES} {absolute} run --state-dir {_STATE}",
        "#    or as a plain process",
        f"{agent} run --state-dir {_STATE}",
    ]
    return lines


def helm_instructions(name: str, registration: dict[str, Any]) -> list[str]:
    """The same for a Pod: the token by standard input into a Secret, then the chart. No secret in a
    command line or in helm's values.
    """
    expires = registration["expires"]
    return [
        f"# With the kubeconfig of cluster {name}. The token works once, until {expires}.",
        (
            "# The address must be one that Pods reach, and the image one that you have built"
            " (examples/agent-chart/README.md)."
        ),
        "",
        "# 1. The token",
        f"kubectl create namespace {_NAMESPACE} --dry-run=client -o yaml | kubectl apply -f -",
        (
            f"kubectl create secret generic {_TOKEN_SECRET} -n {_NAMESPACE}"
            " --from-file=token=/dev/stdin --dry-run=client -o yaml <<'TOKEN' |"
        ),
        str(registration["token"]),
        "TOKEN",
        "  kubectl apply --server-side -f -",
        "",
        "# 2. The agent",
        f"helm upgrade --install fleet-agent examples/agent-chart -n {_NAMESPACE} \\",
        (
            f"  --set manager.url={quote(str(registration['url']))} --set"
            f" manager.caPin={quote(str(registration['caPin']))} \\"
        ),
        (
            f"  --set token.existingSecret={_TOKEN_SECRET} --set"
            " image.repository=registry.example.com/fleet-agent"
        ),
    ]
