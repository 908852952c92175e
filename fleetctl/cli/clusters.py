"""`fleetctl cluster` and `fleetctl clustergroup`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from fleetctl.cli.common import (
    Asked,
    ContextName,
    Everywhere,
    NoHeaders,
    Output,
    Selector,
    Session,
    Watch,
    Workspace,
    Yes,
    labels_of,
    read,
    remove,
)
from fleetctl.cli.output import Format, clean, say
from fleetctl.client import place
from fleetctl.core.cluster import parse_selector
from fleetctl.core.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
groups = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Labels = Annotated[list[str] | None, typer.Option("-l", "--label", help="Label of the cluster, key=value.")]


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="Name of the cluster.")],
    label: Labels = None,
    ttl: Annotated[int, typer.Option(help="Seconds for which the token is good.")] = 3600,
    replace: Annotated[bool, typer.Option("--replace", help="The name is enrolled: revoke its key, keep its history.")] = False,
    token_only: Annotated[bool, typer.Option("--token-only", help="Print nothing but the token.")] = False,
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Let one agent join: prints what to paste on the node."""
    session = Session.open(context, workspace)
    body = {"labels": labels_of(label or []), "ttlSeconds": ttl, "replace": replace}
    made = session.client.call("POST", f"clusters/{session.workspace}/{name}/register", body)
    if output is Format.JSON:
        print(json.dumps(made, indent=2))
    elif token_only:
        print(made["token"])
    else:
        print(_instructions(name, made))
        if not made.get("agentSha256"):
            say("The manager has no fleet-agent.pyz to hand out: build it with `make agent`, or install fleetctl on the node.")


def _instructions(name: str, made: dict[str, Any]) -> str:
    """Two steps: fetch and enrol, then run. The token is read by the shell and never stands in a command line."""
    url, pin, state = made["url"], made["caPin"], "/var/lib/fleet-agent"
    lines = [f"# On the node of cluster {name}. The token is good once, until {made['expires']}."]
    agent = "fleet-agent"
    if made.get("agentSha256"):
        agent = "python3 /usr/local/bin/fleet-agent.pyz"
        fetch = f"curl -fsSk -o /usr/local/bin/fleet-agent.pyz {url}{made['agentPath']}"
        check = f"echo '{made['agentSha256']}  /usr/local/bin/fleet-agent.pyz' | sha256sum -c"
        lines += ["", "# 1. Fetch the agent, check it, and enrol", fetch, check]
    else:
        lines += ["", "# 1. Enrol"]
    lines += [
        f"{agent} enrol {url} --ca-pin {pin} --token-stdin --state-dir {state} <<'TOKEN'",
        made["token"],
        "TOKEN",
        "",
        "# 2. Run it: under systemd",
        f"systemd-run --unit fleet-agent --property=Type=notify --property=Restart=always {_absolute(agent)} run --state-dir {state}",
        "#    or as a plain process",
        f"{agent} run --state-dir {state}",
    ]
    return "\n".join(clean(line) for line in lines)


def _absolute(agent: str) -> str:
    return agent.replace("python3 ", "/usr/bin/python3 ") if " " in agent else f"/usr/local/bin/{agent}"


@app.command("list")
def list_(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    selector: Selector = "",
    watch: Watch = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """The clusters, how many of their bundles are ready, and when they were last heard."""
    asked = Asked("clusters", (), output, everywhere, watch, not no_headers, (("selector", selector),))
    read(Session.open(context, workspace), asked)


@app.command()
def get(name: str, output: Output = Format.TABLE, workspace: Workspace = "", watch: Watch = False, context: ContextName = "") -> None:
    """One cluster and its bundles."""
    session = Session.open(context, workspace)
    read(session, Asked("clusters", (name,), output if output is not Format.TABLE else Format.WIDE, watch=watch))
    if output in {Format.TABLE, Format.WIDE}:
        print()
        read(session, Asked("bundledeployments", (), output, filters=(("cluster", name),)))


@app.command()
def label(
    name: str,
    labels: Annotated[list[str], typer.Argument(help="key=value to set, key- to remove.")],
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Set or remove labels; the targets are chosen anew at once."""
    session = Session.open(context, workspace)
    session.client.call("PATCH", place("clusters", session.workspace, name) + "/labels", labels_of(labels, removing=True))
    print(f"cluster/{clean(name)} labeled")


@app.command()
def delete(
    names: list[str],
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Also remove what the bundles brought.")] = False,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Forget a cluster: its key is revoked, what runs there is kept."""
    remove(Session.open(context, workspace), "clusters", names, yes=yes, uninstall=uninstall)


@groups.command()
def create(name: str, selector: Selector = "", workspace: Workspace = "", context: ContextName = "") -> None:
    """A group of the clusters that a selector picks."""
    if not selector:
        raise UsageError("a group needs a selector", subject="-l", next_step="Give for example -l env=prod.")
    session = Session.open(context, workspace)
    meta, spec = {"name": name, "namespace": session.workspace}, {"selector": parse_selector(selector)}
    doc = {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "ClusterGroup", "metadata": meta, "spec": spec}
    answer = session.client.call("PUT", place("clustergroups", session.workspace, name), doc)
    print(f"clustergroup/{clean(name)} {answer['result']}")


@groups.command("list")
def list_groups(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    watch: Watch = False,
    context: ContextName = "",
) -> None:
    """The groups and how many of their clusters are ready."""
    read(Session.open(context, workspace), Asked("clustergroups", (), output, everywhere, watch))


@groups.command("get")
def get_group(name: str, output: Output = Format.TABLE, workspace: Workspace = "", context: ContextName = "") -> None:
    """One group."""
    read(Session.open(context, workspace), Asked("clustergroups", (name,), output))


@groups.command("delete")
def delete_group(names: list[str], yes: Yes = False, workspace: Workspace = "", context: ContextName = "") -> None:
    """Delete a group; targets that name it pick nobody any more."""
    remove(Session.open(context, workspace), "clustergroups", names, yes=yes)
