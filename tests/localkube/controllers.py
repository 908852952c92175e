"""What makes Deployments really become ready in one cluster: controllers, a scheduler, a node, and
kwok.

Rule: Pods are real objects, made by the real controllers and bound by the real scheduler; only the
kubelet is played, by kwok, with the Stage objects in kwok/stages.yaml.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.localkube.apiclient import MERGE_PATCH, Api, ApiError, Json
from tests.localkube.cluster import Cluster
from tests.localkube.daemon import Daemon
from tests.localkube.toolchain.recipes import HERE
from tests.localkube.toolchain.tools import Tool

NAMES = ("kube-controller-manager", "kube-scheduler", "kwok")
NODE = "localkube"
_ROOM = {"cpu": "1k", "memory": "1Ti", "pods": "10k"}


def daemons(cluster: Cluster, tools: dict[str, Tool]) -> list[Daemon]:
    """The three processes of one cluster, not started. kwok counts as ready when the node is."""
    config = f"--kubeconfig={cluster.kubeconfig}"
    keys = cluster.home.parent
    manager = [
        config,
        f"--service-account-private-key-file={keys / 'sa.key'}",
        f"--root-ca-file={cluster.ca_file}",
        # It would taint the node until kwok's first heartbeat; the taint is taken off below, once.
        "--controllers=*,-node-lifecycle-controller",
    ]
    # One of each: nobody to elect. Port 0: nothing is served.
    quiet = ["--leader-elect=false", "--secure-port=0"]
    argvs = {
        "kube-controller-manager": [*manager, *quiet],
        "kube-scheduler": [config, *quiet],
        "kwok": [config, f"--config={HERE / 'kwok' / 'stages.yaml'}", "--manage-all-nodes=true"],
    }
    return [_daemon(cluster, tools[name], argvs[name]) for name in NAMES]


def _daemon(cluster: Cluster, tool: Tool, argv: list[str]) -> Daemon:
    name = tool.path.name

    def ready() -> bool:
        return name != "kwok" or node_ready(cluster.kubeconfig)

    return Daemon(
        f"{name} {cluster.name}",
        cluster.home / f"{name}.log",
        lambda _: [*tool.argv, *argv],
        ready,
        0,
    )


def add_node(cluster: Cluster) -> None:
    """Make the one node, with room for everything; nothing when it is there from an earlier
    start.
    """
    labels = {
        "kubernetes.io/hostname": NODE,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    node: Json = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": labels},
        "status": {"allocatable": _ROOM, "capacity": _ROOM},
    }
    with contextlib.closing(cluster.api()) as api:
        with contextlib.suppress(ApiError):
            api.call("POST", "/api/v1/nodes", node)
        # An admission plugin sets the taint node.kubernetes.io/not-ready on every new node.
        api.call("PATCH", f"/api/v1/nodes/{NODE}", {"spec": {"taints": None}}, MERGE_PATCH)


def node_ready(kubeconfig: Path) -> bool:
    """Whether the node's condition Ready is True."""
    api = Api(kubeconfig, seconds=5)
    try:
        conditions = api.get(f"/api/v1/nodes/{NODE}")["status"].get("conditions", [])
    except ApiError:
        return False
    finally:
        api.close()
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )
