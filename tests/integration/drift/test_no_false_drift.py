"""What the API server writes in another form than Git is no drift: many objects at once, on a real
API server, after a real helm.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from agent.kube.client import Kube
from fleetctl.core.model.ids import BundleName
from fleetctl.tools.helm import HelmCli
from tests.localkube.kubeapi import LocalKube
from tests.localkube.toolchain import tools
from tests.support.agent.observer import Looking

pytestmark = pytest.mark.cluster
CONTAINER = """\
      containers:
      - name: app
        image: 'x:1'
        command: []
        env: [{name: EMPTY, value: ""}, {name: REF, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]
        resources: {limits: {cpu: 1000m, memory: 1024Mi}, requests: {cpu: 0.5, memory: 0.5Gi}}
        readinessProbe: {httpGet: {path: /, port: 80}}
        securityContext: {}
        volumeMounts: [{name: v, mountPath: /v}]
      volumes: [{name: v, emptyDir: {}}, {name: c, configMap: {name: m}}]
"""  # noqa: E501
OBJECTS = {
    "Deployment": (
        f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, creationTimestamp: null, annotations: null, labels: {{}}}}
spec:
  replicas: 1
  strategy: {{}}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}, creationTimestamp: null}}
    spec:
      nodeSelector: null
      serviceAccount: default
      tolerations: []
{CONTAINER}status: {{replicas: 7}}
"""
    ),
    "CronJob": (
        f"""\
apiVersion: batch/v1
kind: CronJob
metadata: {{name: cron}}
spec:
  schedule: "0 0 * * *"
  jobTemplate:
    spec:
      template:
        metadata: {{}}
        spec:
          restartPolicy: Never
{"".join("    " + line + chr(10) for line in CONTAINER.splitlines())}"""
    ),
    "Service": (
        """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: a, port: 80}, {name: b, port: 81, targetPort: 8081}]}
"""
    ),
    "Secret": (
        """\
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {b: Yg==, c: ""}
stringData: {a: one, b: two, n: "5"}
"""
    ),
    "twice": (
        """\
apiVersion: v1
kind: ConfigMap
metadata: {name: twice}
data: {a: first}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: twice}
data: {a: last}
"""
    ),
    "lists": (
        """\
apiVersion: v1
kind: ConfigMapList
items:
- metadata: {name: listed-a}
  data: {a: "1"}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: listed-b}, data: {a: "1"}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: listed-c}, data: {}}
"""
    ),
    "merge key": (
        """\
apiVersion: v1
kind: ConfigMap
metadata: {name: merged}
data:
  x: own
  <<: {x: merged, y: merged}
binaryData: null
"""
    ),
    "quantities": (
        """\
apiVersion: v1
kind: ResourceQuota
metadata: {name: q}
spec: {hard: {cpu: 2000m, memory: 2048Mi, pods: 10, requests.storage: 1.5Gi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: p}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}, storageClassName: ""}
---
apiVersion: v1
kind: LimitRange
metadata: {name: l}
spec: {limits: [{type: Container, max: {cpu: 4000m}, default: {memory: 0.25Gi}}]}
"""
    ),
    "policies": (
        """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: net}
spec: {podSelector: {}, ingress: [], egress: [{}], policyTypes: [Egress, Ingress]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: d}
spec: {maxUnavailable: 50%, selector: {matchLabels: {app: web}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: 'r:a'}
rules: [{apiGroups: [""], resources: [pods, configmaps], verbs: [list, get], resourceNames: []}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rb}
roleRef: {kind: Role, name: 'r:a', apiGroup: rbac.authorization.k8s.io}
subjects: [{kind: ServiceAccount, name: default, namespace: NAMESPACE}, {kind: User, name: u}]
"""
    ),
    "HorizontalPodAutoscaler": (
        """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1024Mi}}}]
"""  # noqa: E501
    ),
    "Ingress": (
        """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
"""  # noqa: E501
    ),
}
HOOK = (
    "admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Ignore, rules: [{operations:"
    " [CREATE], apiGroups: [x.example.com], apiVersions: [v1], resources: [xs]}]"
)
PLACEHOLDERS = {
    "empty": ', caBundle: ""',
    "newline": ", caBundle: Cg==",
    "none": "",
    "null": ", caBundle: null",
}


def webhooks() -> str:
    """Of each kind that has a CA bundle, one with each way to say that somebody fills it in."""
    parts = []
    for word, bundle in PLACEHOLDERS.items():
        client = f"{{service: {{namespace: x, name: hook, path: /z}}{bundle}}}"
        hook = f"webhooks: [{{name: a.x.example.com, {HOOK}, clientConfig: {client}}}]\n"
        head = (
            f"apiVersion: admissionregistration.k8s.io/v1\nmetadata: {{name: drift-{word}}}\n{hook}"
        )
        parts += [
            f"{head}kind: {kind}\n"
            for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
        ]
    return "---\n".join(parts)


def test_another_form_is_no_drift(kube: LocalKube, tmp_path: Path) -> None:
    """Defaults, quantities, nulls, lists, objects that are stated twice, and CA bundles that
    somebody fills in.
    """

    async def work() -> None:
        config = kube["dev"].kubeconfig
        helm = HelmCli(list(tools.find("helm").argv), kubeconfig=config, home=tmp_path / "helm")
        async with Looking(tmp_path / "agent", Kube(config), helm) as looking:
            namespace = "no-false-drift"
            text = "---\n".join([*OBJECTS.values(), webhooks()]).replace("NAMESPACE", namespace)
            # An install creates the objects of one kind at the same time, so that either form of an
            # object stated twice may be the last; an upgrade applies one after the other.
            for _ in range(2):
                await looking.apply("forms", text, namespace=namespace)
            await looking.reach(lambda: bool(looking.objects("forms")))
            for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
                for word in PLACEHOLDERS:
                    path = f"/apis/admissionregistration.k8s.io/v1/{kind}/drift-{word}?fieldManager=gatekeeper"  # noqa: E501
                    patch = [
                        {
                            "op": "add",
                            "path": "/webhooks/0/clientConfig/caBundle",
                            "value": "LS0tLS1CRUdJTg==",
                        }
                    ]
                    await looking.kube.call(
                        "PATCH",
                        path,
                        msgspec.json.encode(patch),
                        {"content-type": "application/json-patch+json"},
                    )
            looking.at.resources.pop(BundleName("forms"))
            looking.at.to_observe.add(BundleName("forms"))
            looking.at.look.set()
            await looking.reach(lambda: bool(looking.objects("forms")))
            found = looking.objects("forms")
            wrong = {
                key: (r.state, r.message, r.differences)
                for key, r in found.items()
                if r.drifted or r.state in {"Missing", "Unknown"}
            }
            assert wrong == {}
            assert {
                "ConfigMap/listed-a",
                "ConfigMap/listed-b",
                "ConfigMap/listed-c",
                "ConfigMap/merged",
                "ConfigMap/twice",
            } <= set(found)

    asyncio.run(work())
