"""What becomes of helm's text: each error names the object, the cause first, and the next step.
Texts are helm 4.2.3's.
"""

from __future__ import annotations

import pytest

from fleetctl.core.model.errors import (
    ClusterUnreachable,
    DeleteFailed,
    FleetError,
    HelmFailed,
    HelmForbidden,
    HelmRefusedByForm,
    KubeVersionMismatch,
    NoKind,
    NotDecodable,
    NotServed,
    ReleaseNotFound,
    WebhookFailed,
)
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_errors import (
    is_dry_run_refused,
    is_unreadable,
    refusals,
    translate,
    unknown_kinds,
    webhook_of,
)

RELEASE = Release("shop", "store")
FORM = """Error: UPGRADE FAILED: server-side apply failed for object store/web /v1, Kind=Service: failed to create typed patch object \
(store/web; /v1, Kind=Service): .spec.ports[port=80,protocol="TCP"].targetport: field not declared in schema
server-side apply failed for object store/web apps/v1, Kind=Deployment: failed to create typed patch object (store/web; apps/v1, \
Kind=Deployment): errors:
  .spec.template.spec.containers[name="web"].imagepullpolicy: field not declared in schema
  .spec.template.spec.dnsPolicyy: field not declared in schema
"""  # noqa: E501
KINDS = """Error: UPGRADE FAILED: unable to build kubernetes objects from current release manifest: [resource mapping not found for name: \
"one" namespace: "" from "": no matches for kind "Gadget" in version "g.example.com/v1"
ensure CRDs are installed first, resource mapping not found for name: "two" namespace: "z" from "": no matches for kind "Wheel" in version \
"g.example.com/v2"
ensure CRDs are installed first]
"""  # noqa: E501
WEBHOOK = """Error: server-side apply failed for object store/a /v1, Kind=ConfigMap: Internal error occurred: failed calling webhook \
"check.example.com": failed to call webhook: Post "https://x.gone.svc:443/v?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused
"""  # noqa: E501
HOOK = """Error: failed pre-install: warning: Hook pre-install hook/templates/m.yaml failed: server-side apply failed for object store/a \
batch/v1, Kind=Job: failed to create typed patch object (store/a; batch/v1, Kind=Job): .spec.env: duplicate entries for key [name="A"]
"""  # noqa: E501


def test_every_object_and_field_is_named() -> None:
    """And both are refused by server-side apply alone."""
    found = translate(FORM.encode(), RELEASE)
    assert isinstance(found, HelmFailed)
    assert (
        found.summary
        == 'Service store/web: .spec.ports[port=80,protocol="TCP"].targetport: field not declared'
        " in schema; Deployment store/web:"
        ' .spec.template.spec.containers[name="web"].imagepullpolicy: field not declared in'
        " schema, .spec.template.spec.dnsPolicyy: field not declared in schema"
    )
    assert found.subject == "Service store/web"
    assert isinstance(found, HelmRefusedByForm)
    assert [one.api_version for one in refusals(found)] == ["v1", "apps/v1"]


def test_a_missing_kind_says_what_brings_it() -> None:
    """Install the definition, or wait for the bundle that has it."""
    found = translate(KINDS.encode(), RELEASE)
    assert isinstance(found, NoKind)
    assert (
        found.summary
        == 'the cluster has no matches for kind "Gadget" in version "g.example.com/v1", which'
        " Gadget one needs (and 1 more object)"
    )
    assert "dependsOn" in found.next_step
    assert unknown_kinds(found) == [
        ("g.example.com/v1", "Gadget"),
        ("g.example.com/v2", "Wheel"),
    ]


def test_a_webhook_without_an_answer_is_not_the_api_server() -> None:
    """Its words hold `connection refused`, as those of an API server that is away."""
    found = translate(WEBHOOK.encode(), RELEASE)
    assert isinstance(found, WebhookFailed)
    assert found.summary.startswith(
        'ConfigMap store/a: webhook "check.example.com" does not answer: failed to call webhook'
    )
    away = (
        b'Error: Kubernetes cluster unreachable: Get "https://127.0.0.1:1/version": dial tcp'
        b" 127.0.0.1:1: connect: connection refused\n"
    )
    assert isinstance(translate(away, RELEASE), ClusterUnreachable)


def test_a_hook_is_told_from_an_object() -> None:
    """With its event and its object."""
    found = translate(HOOK.encode(), RELEASE)
    assert (
        found.summary
        == "hook pre-install (hook/templates/m.yaml): Job store/a: .spec.env: duplicate entries for"
        ' key [name="A"]'
    )


@pytest.mark.parametrize(
    ("said", "summary"),
    [
        (
            (
                "server-side apply failed for object store/ /v1, Kind=ConfigMap: resource name may"
                " not be empty"
            ),
            "ConfigMap store/(without a name): ",
        ),
        (
            (
                'cannot patch "web" with kind Deployment: Deployment.apps "web" is invalid:'
                " spec.selector: field is immutable"
            ),
            "Deployment web: spec.s",
        ),
        (
            (
                'server-side apply failed for object /x v1, Kind=Namespace: Namespace "x" is'
                " invalid: metadata.name: Invalid"
            ),
            "Namespace x: metadata",
        ),
    ],
)
def test_the_object_comes_first(said: str, summary: str) -> None:
    """Whatever it is."""
    assert translate(
        f"W1128 noise\nError: UPGRADE FAILED: {said}\n".encode(), RELEASE
    ).summary.startswith(summary)


def test_a_thousand_objects_are_a_few_lines() -> None:
    """The first three, and how many more."""
    many = "\n".join(
        f"server-side apply failed for object a/m{n} /v1, Kind=ConfigMap: no" for n in range(1000)
    )
    found = translate(f"Error: {many}".encode(), RELEASE)
    assert (
        found.summary
        == "ConfigMap a/m0: no; ConfigMap a/m1: no; ConfigMap a/m2: no (and 997 more objects)"
    )


def test_a_chart_for_another_kubernetes_is_named_as_one() -> None:
    """helm's text has no chart, and its history would show nothing."""
    text = (
        "Error: UPGRADE FAILED: chart requires kubeVersion: >=1.21.0-0 <1.30.0 which is"
        " incompatible with Kubernetes v1.36.1+k3s1"
    )
    found = translate(text.encode(), RELEASE)
    assert isinstance(found, KubeVersionMismatch)
    assert (found.wanted, found.version, found.code) == (
        ">=1.21.0-0 <1.30.0",
        "v1.36.1+k3s1",
        "kube-version",
    )
    assert (
        found.summary
        == "the chart requires Kubernetes >=1.21.0-0 <1.30.0, and this is v1.36.1+k3s1"
    )
    assert "helm history" not in found.next_step


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ('UPGRADE FAILED: unable to decode "": json: cannot unmarshal number', NotDecodable),
        ("failed to delete release: web", DeleteFailed),
        ("the server could not find the requested resource", NotServed),
        ("query: failed to query with labels: secrets is forbidden: User x", HelmForbidden),
        ("release: not found", ReleaseNotFound),
        ("something else", HelmFailed),
    ],
)
def test_the_class_says_what_helm_complains_of(output: str, kind: type[FleetError]) -> None:
    """Nobody but this module reads helm's text."""
    assert type(translate(f"Error: {output}\n".encode(), RELEASE)) is kind


def test_an_object_that_the_api_server_cannot_read() -> None:
    error = translate(b"Error: json: cannot unmarshal string into Go struct field", RELEASE)
    assert isinstance(error, HelmFailed)
    assert is_unreadable(error)


def test_messages_of_the_api_server_without_a_reason_of_their_own() -> None:
    message = 'Internal error occurred: failed calling webhook "a.example.com": no answer'
    assert (webhook_of(message), webhook_of("no such object")) == ("a.example.com", "")
    assert is_dry_run_refused('admission webhook "a.example.com" does not support dry run')
    assert not is_dry_run_refused(message)
