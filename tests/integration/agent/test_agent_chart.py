"""The agent as a Pod: the chart in a real API server, and an agent that runs with exactly the
rights and files which that Pod would have.

No kubelet runs containers here: what it would do (mount the account's token, renew it, give the Pod
its environment) is done by hand, and the agent is a process of this machine with the command line
that the chart states.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.controlplane import identity
from agent.controlplane.identity import Identity
from agent.enroll.join import IdentitySecret, Joining, join
from agent.kube.client import Kube
from examples.demo.parts import Process, program
from fleetctl.core.model.errors import Conflict
from fleetctl.core.model.ids import ClusterId
from tests.localkube.kubeapi import LocalKube
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
CHART = Path(__file__).parents[3] / "examples" / "agent-chart"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"
CLUSTER_ROLE = (
    "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: evil\nrules:"
    " []\n"
)
NEEDED = (
    "--set",
    "manager.url=https://manager.example.com:8443",
    "--set",
    "image.repository=registry.example.com/fleet-agent",
)
MODES = {
    "the default": (),
    "cluster-admin": ("--set", "rbac.mode=cluster-admin"),
    "impersonate": ("--set", "rbac.mode=impersonate"),
    "impersonate, records of two namespaces": (
        "--set",
        "rbac.mode=impersonate",
        "--set",
        "rbac.recordNamespaces={default,kube-public}",
    ),
    "namespaces": (
        "--set",
        "rbac.mode=namespaces",
        "--set",
        "rbac.namespaces={default,kube-public}",
    ),
    "a volume": ("--set", "persistence.enabled=true", "--set", "persistence.storageClass=fast"),
    "a claim that is there": (
        "--set",
        "persistence.enabled=true",
        "--set",
        "persistence.existingClaim=mine",
    ),
    "a token in the values": ("--set", "token.value=abc", "--set", "identity.keep=true"),
    "no roles": (
        "--set",
        "rbac.create=false",
        "--set",
        "serviceAccount.create=false",
        "--set",
        "serviceAccount.name=mine",
    ),
    "where it runs": (
        *(
            "--set-json",
            'tolerations=[{"key":"edge","operator":"Exists"}]',
            "--set-json",
            'nodeSelector={"edge":"yes"}',
        ),
        *(
            "--set",
            "priorityClassName=system-cluster-critical",
            "--set-json",
            'imagePullSecrets=[{"name":"pull"}]',
        ),
        *(
            "--set-json",
            'podAnnotations={"a/b":"c"}',
            "--set",
            "image.digest=sha256:" + "a" * 64,
            "--set",
            "log=json",
        ),
        *(
            "--set-json",
            'extraEnv=[{"name":"HTTPS_PROXY","value":"http://p:3128"}]',
            "--set",
            "extraArgs={--log=text}",
        ),
    ),
}


def run(env: dict[str, str], *argv: str, stdin: str = "") -> str:
    done = subprocess.run(
        argv, env=env, input=stdin, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{shlex.join(argv)}\n{done.stdout}{done.stderr}"
    return done.stdout


class TestChart:
    def test_it_is_a_good_chart(self, tool_env: dict[str, str]) -> None:
        """helm lint finds nothing, with what must be given."""
        said = run(tool_env, "helm", "lint", "--strict", str(CHART), *NEEDED)
        assert "0 chart(s) failed" in said

    @pytest.mark.parametrize("more", MODES.values(), ids=MODES.keys())
    def test_the_api_server_takes_all_of_it(
        self, more: tuple[str, ...], kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """Every object of every form passes the API server's own checks, unknown fields
        included.
        """
        made = run(
            tool_env, "helm", "template", "agent", str(CHART), "-n", "default", *NEEDED, *more
        )
        config = str(kube["dev"].kubeconfig)
        apply = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
        said = run(tool_env, "kubectl", "--kubeconfig", config, *apply, stdin=made)
        assert "deployment.apps/agent-fleet-agent created (server dry run)" in said

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (("--set", "manager.url=http://m:1"), "/manager/url"),
            (("--set", "image.repository="), "/image/repository"),
            (("--set", "rbac.mode=namespaces"), "/rbac/namespaces"),
            (("--set", "rbac.namespaces={a}"), "/rbac/namespaces"),
            (("--set", "rbac.mode=admin"), "/rbac/mode"),
            (("--set", "manager.capin=abc"), "capin"),
            (("--set", "serviceAccount.create=false"), "serviceAccount.name"),
        ],
    )
    def test_wrong_values_are_refused(
        self, more: tuple[str, ...], said: str, tool_env: dict[str, str]
    ) -> None:
        """By the schema, before anything is installed, and naming the value."""
        argv = ["helm", "template", "agent", str(CHART), *NEEDED, *more]
        done = subprocess.run(
            argv, env=tool_env, capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr

    def test_the_default_gives_no_rights_that_a_bundle_could_use(
        self, tool_env: dict[str, str]
    ) -> None:
        """cluster-admin is an opt-in; nothing may connect to the agent."""
        found = objects(tool_env, *NEEDED)
        assert {binding["roleRef"]["name"] for binding in found["ClusterRoleBinding"]} == {
            "fleet-agent-fleet-agent"
        }
        assert all(
            "*" not in rule["verbs"] for role in found["ClusterRole"] for rule in role["rules"]
        )
        assert not any(
            "secrets" in rule["resources"]
            for role in found["ClusterRole"]
            for rule in role["rules"]
        )
        [policy] = found["NetworkPolicy"]
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        assert "ingress" not in policy["spec"]
        opted = objects(
            tool_env,
            *NEEDED,
            "--set",
            "rbac.mode=cluster-admin",
            "--set",
            "networkPolicy.enabled=false",
        )
        assert [binding["roleRef"]["name"] for binding in opted["ClusterRoleBinding"]] == [
            "cluster-admin"
        ]
        assert "NetworkPolicy" not in opted

    def test_the_pod_is_confined(self, tool_env: dict[str, str]) -> None:
        """Not root, nothing of its image writable, no capabilities, the token only in a file, one
        at a time.
        """
        deployment = objects(tool_env, *NEEDED)["Deployment"][0]["spec"]
        pod = deployment["template"]["spec"]
        container = pod["containers"][0]
        assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("SecretKeyRef" in json.dumps(e) for e in container["env"])

    def test_a_pod_of_the_restricted_standard(
        self, kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """The API server's own pod security admission has nothing to say against it."""
        kubectl = ("kubectl", "--kubeconfig", str(kube["dev"].kubeconfig))
        run(tool_env, *kubectl, "apply", "-f", "-", stdin=json.dumps(RESTRICTED))
        pod = objects(tool_env, *NEEDED)["Deployment"][0]["spec"]["template"]
        alone = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "pod-restricted"},
            "spec": pod["spec"],
        }
        run(tool_env, *kubectl, "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(alone))


RESTRICTED = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": "pod-restricted",
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    },
}


def objects(env: dict[str, str], *more: str) -> dict[str, list[Any]]:
    from fleetctl.core.formats.yaml import load_all

    found: dict[str, list[Any]] = {}
    for doc in load_all(run(env, "helm", "template", "agent", str(CHART), "-n", "fleet", *more)):
        if doc:
            found.setdefault(doc["kind"], []).append(doc)
    return found


class Pod:
    """What a kubelet would make of the chart's Deployment, out of the API server: files,
    environment, command line.
    """

    def __init__(self, folder: Path, kube: LocalKube, namespace: str, env: dict[str, str]) -> None:
        self.folder, self.namespace, self.env, self._cluster = folder, namespace, env, kube["test"]
        self.config = str(self._cluster.kubeconfig)
        self.account, self.live = folder / "account", folder / "live.json"
        self.account.mkdir(parents=True)
        (self.account / "ca.crt").write_bytes(self._cluster.ca_file.read_bytes())
        (self.account / "namespace").write_text(namespace)
        self.spec = json.loads(self.kubectl("get", "deployment", "fleet-agent", "-o", "json"))[
            "spec"
        ]["template"]["spec"]
        self.renew()

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return run(
            self.env,
            "kubectl",
            "--kubeconfig",
            self.config,
            "-n",
            self.namespace,
            *words,
            stdin=stdin,
        )

    def renew(self) -> None:
        """A new token of the TokenRequest API, in the place of the old one."""
        fresh = self.account / "token.new"
        fresh.write_text(
            self.kubectl("create", "token", self.spec["serviceAccountName"], "--duration=10m")
        )
        fresh.replace(self.account / "token")

    def process(self, state: Path) -> Process:
        """The container's command, with this machine's folders for its mounts."""
        container = self.spec["containers"][0]
        token = self.folder / "token"
        secret = next(v["secret"] for v in self.spec["volumes"] if v["name"] == "token")
        found = json.loads(
            self.kubectl("get", "secret", secret["secretName"], "--ignore-not-found", "-o", "json")
            or "{}"
        )
        token.unlink(missing_ok=True)
        if found:
            import base64

            token.write_bytes(base64.b64decode(found["data"]["token"]))
        mounts = {
            "/var/lib/fleet-agent/state": str(state),
            "/run/fleet-token/token": str(token),
            "/run/fleet-agent/live.json": str(self.live),
        }
        here = re.compile("|".join(mounts))
        args = [here.sub(lambda m: mounts[m[0]], word) for word in container["args"]]
        own = {
            e["name"]: here.sub(lambda m: mounts[m[0]], e["value"])
            for e in container["env"]
            if e["name"] != "HOME"
        }
        host, port = self._cluster.url.removeprefix("https://").split(":")
        more = {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "FLEET_AGENT_POD_ACCOUNT": str(self.account),
        }
        from examples.demo.parts import environment

        env = environment({**self.env, **more, **own})
        return Process("pod", program("fleet-agent", *args), env, self.folder.parent / "pod.log")

    def exec(self, state: Path, *words: str) -> str:
        """As `kubectl exec deploy/fleet-agent -- fleet-agent …`: the container's environment, and
        nothing else said.
        """
        done = subprocess.run(
            program("fleet-agent", *words),
            env=self.process(state).env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def probe(self, kind: str) -> bool:
        command = [
            word.replace("/run/fleet-agent/live.json", str(self.live))
            for word in self.spec["containers"][0][kind]["exec"]["command"]
        ]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def installed(
    fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], namespace: str, *more: str
) -> Pod:
    """By the very lines that `fleetctl cluster register --helm` prints, in another namespace."""
    from fleetctl.cli.commands.cluster.register import helm_instructions

    more = (
        more
        if any("rbac.mode" in word for word in more)
        else (*more, "--set", "rbac.mode=cluster-admin")
    )
    made = fleet.call("POST", f"clusters/fleet-default/{namespace}/register", {"labels": {}})
    script = "\n".join(helm_instructions(namespace, made)).replace(
        "-n fleet-agent", f"-n {namespace}"
    )
    script = script.replace("create namespace fleet-agent", f"create namespace {namespace}")
    script = script.replace("examples/agent-chart -n", f"{CHART} {shlex.join(more)} -n")
    assert made["token"] not in script.replace(f"\n{made['token']}\n", "")
    run({**tool_env, "KUBECONFIG": str(kube["test"].kubeconfig)}, "sh", "-euc", script)
    return Pod(fleet.folder / "pod", kube, namespace, tool_env)


def wait(good: Any, process: Process, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end, process.log.read_text()
        time.sleep(0.2)


class TestRunning:
    def test_it_enrols_deploys_and_outlives_its_pod(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
    ) -> None:
        """Probes turn green, a bundle is deployed; then the Pod is another one, on an empty disk
        and without a token: the same cluster, the same release, nothing deployed anew.
        """
        pod = installed(fleet, kube, tool_env, "pod-admin")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: pod-admin-bundle\n",
                "m.yaml": MAP.format(name="m", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        process = pod.process(tmp_path / "first")
        assert not pod.probe("readinessProbe")
        process.start()
        try:
            fleet.all_ready(bundles=1)
            wait(lambda: pod.probe("readinessProbe") and pod.probe("livenessProbe"), process)
            process.stop()
            assert not pod.live.exists()
            pod.kubectl("delete", "secret", "fleet-agent-token")
            process = pod.process(tmp_path / "second")
            process.start()
            clone.push({"m.yaml": MAP.format(name="m", value=2)})
            wait(
                lambda: (
                    "'2'"
                    in pod.kubectl(
                        "get", "cm", "m", "-n", "pod-admin-bundle", "-o", "jsonpath='{.data.a}'"
                    )
                ),
                process,
            )
            fleet.all_ready(bundles=1)
            assert [
                c["metadata"]["name"] for c in fleet.call("GET", "objects/clusters")["items"]
            ] == ["pod-admin"]
        finally:
            process.stop()
        assert (tmp_path / "first" / "identity.key").read_bytes() == (
            tmp_path / "second" / "identity.key"
        ).read_bytes()

    def test_a_renewed_token_is_taken_by_the_agent_and_by_helm(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
    ) -> None:
        """The kubelet renews the token every hour, and the old one ends: an agent that had read it
        once would be locked out.
        """
        pod = installed(fleet, kube, tool_env, "pod-token")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: pod-token-bundle\n",
                "m.yaml": MAP.format(name="m", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        process = pod.process(tmp_path / "state")
        process.start()
        try:
            fleet.all_ready(bundles=1)
            # The account is another one of the same name: every token of the old one is refused
            # from now on.
            old = (pod.account / "token").read_text()
            account = json.loads(pod.kubectl("get", "sa", "fleet-agent", "-o", "json"))
            pod.kubectl("delete", "sa", "fleet-agent")
            for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
                account["metadata"].pop(key, None)
            pod.kubectl("create", "-f", "-", stdin=json.dumps(account))
            pod.renew()
            assert old != (pod.account / "token").read_text()
            clone.push({"m.yaml": MAP.format(name="m", value=2)})
            wait(
                lambda: (
                    "'2'"
                    in pod.kubectl(
                        "get", "cm", "m", "-n", "pod-token-bundle", "-o", "jsonpath='{.data.a}'"
                    )
                ),
                process,
            )
            fleet.all_ready(bundles=1)
        finally:
            process.stop()

    def test_in_some_namespaces_only(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
    ) -> None:
        """Inside of them bundles are deployed and watched; outside, and for cluster-wide kinds,
        each is one clear line.
        """
        config = ("kubectl", "--kubeconfig", str(kube["test"].kubeconfig))
        run(tool_env, *config, "create", "namespace", "pod-inside")
        run(tool_env, *config, "create", "namespace", "pod-outside")
        pod = installed(
            fleet,
            kube,
            tool_env,
            "pod-some",
            "--set",
            "rbac.mode=namespaces",
            "--set",
            "rbac.namespaces={pod-inside}",
        )
        clone.push(
            {
                "good/fleet.yaml": "defaultNamespace: pod-inside\n",
                "good/m.yaml": MAP.format(name="m", value=1),
                "outside/fleet.yaml": "defaultNamespace: pod-outside\n",
                "outside/m.yaml": MAP.format(name="m", value=1),
                "role/fleet.yaml": "defaultNamespace: pod-inside\n",
                "role/m.yaml": CLUSTER_ROLE,
            }
        )
        fleet.gitrepo(clone.url)
        process = pod.process(tmp_path / "state")
        process.start()
        name = "pod-some.apps"
        try:
            wanted = {
                f"{name}-good": "Ready",
                f"{name}-outside": "ErrApplied",
                f"{name}-role": "ErrApplied",
            }
            fleet.until(fleet.states, lambda s: s == wanted, seconds=60)
            said = {n: d["status"]["message"] for n, d in fleet.deployments().items()}
            log = process.log.read_text()
            checked = {
                f["what"]: f
                for f in json.loads(pod.exec(tmp_path / "state", "check", "-o", "json"))
            }
            status = fleet.until(
                lambda: json.loads(pod.exec(tmp_path / "state", "status", "-o", "json")),
                lambda s: s["bundles"],
            )
        finally:
            process.stop()
        account = "system:serviceaccount:pod-some:fleet-agent"
        assert "pod-outside" in said[f"{name}-outside"]
        assert f'User "{account}" cannot' in said[f"{name}-role"]
        assert "clusterroles" in said[f"{name}-role"]
        assert log.count("bundle apps-role:") <= 2, log
        assert {what for what, f in checked.items() if f["ok"] is False} == {"rights"}, checked
        assert "create secrets in namespace pod-outside" in checked["rights"]["said"]
        assert (status["agent"], [b["state"] for b in status["bundles"]]) == (
            "running",
            ["ErrApplied", "ErrApplied", "Ready"],
        )
        assert "Traceback" not in log

    def test_with_the_rights_of_the_bundles_accounts_only(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
    ) -> None:
        """A bundle that names an account has its rights; one that names none has the agent's, which
        are none.
        """
        pod = installed(fleet, kube, tool_env, "pod-imp", "--set", "rbac.mode=impersonate")
        config = ("kubectl", "--kubeconfig", str(kube["test"].kubeconfig))
        run(tool_env, *config, "create", "namespace", "pod-imp-web")
        pod.kubectl("create", "serviceaccount", "web")
        run(
            tool_env,
            *config,
            "create",
            "rolebinding",
            "web",
            "-n",
            "pod-imp-web",
            "--clusterrole=cluster-admin",
            "--serviceaccount=pod-imp:web",
        )
        clone.push(
            {
                "web/fleet.yaml": "defaultNamespace: pod-imp-web\nserviceAccount: web\n",
                "web/m.yaml": MAP.format(name="m", value=1),
                "bare/fleet.yaml": "defaultNamespace: pod-imp-web\n",
                "bare/m.yaml": MAP.format(name="bare", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        process = pod.process(tmp_path / "state")
        process.start()
        try:
            wanted = {"pod-imp.apps-web": "Ready", "pod-imp.apps-bare": "ErrApplied"}
            fleet.until(fleet.states, lambda s: s == wanted, seconds=60)
            assert (
                "pod-imp:fleet-agent"
                in fleet.deployments()["pod-imp.apps-bare"]["status"]["message"]
            )
            # The Pod is replaced, and the journal with it, while a bundle is removed: its release
            # is found by the account's rights.
            process.stop()
            clone.push({"web/fleet.yaml": None, "web/m.yaml": None})
            fleet.until(
                lambda: [
                    b["metadata"]["name"] for b in fleet.call("GET", "objects/bundles")["items"]
                ],
                lambda b: b == ["apps-bare"],
            )
            process = pod.process(tmp_path / "next")
            process.start()
            get = ("get", "configmap", "m", "-n", "pod-imp-web", "--ignore-not-found")
            wait(lambda: run(tool_env, *config, *get) == "", process)
            checked = {
                f["what"]: f for f in json.loads(pod.exec(tmp_path / "next", "check", "-o", "json"))
            }
            assert "pod-imp-web" in checked["releases"]["said"], checked
        finally:
            process.stop()

    def test_a_used_token_is_one_clear_line(
        self, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
    ) -> None:
        """The Pod ends with it, so that its status shows it; a manager that is away is waited for
        instead, alive but not ready.
        """
        pod = installed(fleet, kube, tool_env, "pod-used")
        fleet.manager.process.stop()
        process = pod.process(tmp_path / "one")
        process.start()
        try:
            wait(lambda: "cannot be reached" in process.log.read_text(), process)
            wait(lambda: pod.probe("livenessProbe"), process)
            assert (pod.probe("readinessProbe"), process.alive()) == (False, True)
            fleet.manager.start()
            wait(lambda: pod.probe("readinessProbe"), process)
        finally:
            process.stop()
        pod.kubectl("patch", "secret", "fleet-agent-identity", "-p", '{"data":null}')
        process = pod.process(tmp_path / "two")
        process.start()
        wait(lambda: not process.alive(), process)
        said = process.log.read_text().splitlines()[-3:]
        assert said[0].startswith("error: the registration token is refused:"), said
        assert "fleetctl cluster register NAME --replace" in said[2]


class TestKeptIdentity:
    """The Secret against a real API server, without a Pod."""

    def test_what_is_kept_comes_back(self, kube: LocalKube, tmp_path: Path) -> None:
        """Key first, identity after; an empty directory gets both, and a second agent's key is
        refused.
        """

        async def story() -> None:
            async with Kube(kube["prod"].kubeconfig).open() as door:
                secret = IdentitySecret(door, "default", "pod-identity")
                first, second, other = tmp_path / "first", tmp_path / "second", tmp_path / "other"
                for folder in (first, second, other):
                    folder.mkdir()
                await secret.restore(first)
                assert list(first.iterdir()) == []
                identity.key_of(first)
                await secret.keep(first)
                await secret.restore(second)
                assert files(second) == files(first)
                identity.save(first, ME)
                await secret.keep(first)
                await secret.keep(first)
                await secret.restore(second)
                assert files(second) == files(first)
                assert set(files(second)) == {"identity.key", "identity.json"}
                identity.key_of(other)
                with pytest.raises(Conflict, match="contains the key of another agent"):
                    await secret.keep(other)

        asyncio.run(story())

    def test_the_directory_of_a_pod_that_died_between_two_writes_wins(
        self, kube: LocalKube, tmp_path: Path
    ) -> None:
        """Enrolled, and not yet in the Secret: the next start of the container keeps what it has
        and writes it down.
        """

        async def story() -> None:
            async with Kube(kube["prod"].kubeconfig).open() as door:
                secret, folder = IdentitySecret(door, "default", "pod-half"), tmp_path / "state"
                folder.mkdir()
                identity.key_of(folder)
                await secret.keep(folder)
                identity.save(folder, ME)
                before = files(folder)
                await secret.restore(folder)
                assert files(folder) == before
                await join(Joining(folder, "1", secret), lambda _: None)
                (tmp_path / "next").mkdir()
                await secret.restore(tmp_path / "next")
                assert files(tmp_path / "next") == before

        asyncio.run(story())


ME = Identity(
    url="https://m:1",
    ca_pem="",
    cluster_id=ClusterId("c-1"),
    cluster="paris",
    workspace="fleet-default",
    keys={},
)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestImage:
    """No container runtime is here: that the Dockerfile can be built is shown by its parts, not by
    building it.
    """

    def test_every_instruction_is_known_and_every_source_is_there(self) -> None:
        """The grammar of a Dockerfile, stages and arguments that are defined before they are used,
        and files that exist.
        """
        from tests.support.dockerfile import parse

        stages = parse((CHART / "Dockerfile").read_text())
        assert [stage.name for stage in stages] == ["build", ""]
        assert {stage.image for stage in stages} == {
            "docker.io/library/python:3.11-slim-bookworm@"
        }, "the digest has no default"
        root = CHART.parents[1]
        made_by_hand = {"dist/tools/helm", "dist/tools/kubectl"}
        for stage in stages:
            for source in stage.copied:
                assert source in made_by_hand or (root / source).exists(), source
        assert stages[-1].user == "10001:10001"
        assert stages[-1].entrypoint == ["fleet-agent"]

    def test_the_entry_runs_the_agent(self, tmp_path: Path) -> None:
        """The same file, with this checkout in the place of the image's folder."""
        entry = tmp_path / "fleet-agent"
        entry.write_text(
            (CHART / "fleet-agent").read_text().replace("/opt/fleet-agent", str(CHART.parents[1]))
        )
        done = subprocess.run(
            [sys.executable, "-I", str(entry), "version"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("fleet-agent ")
