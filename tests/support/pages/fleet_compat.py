"""docs/fleet-compat.md, written from the corpus: `python -m tests.support.pages.fleet_compat`."""

from __future__ import annotations

from pathlib import Path

from tests.support.pages.cases import Case, cases

PAGE = Path(__file__).parents[3] / "docs" / "fleet-compat.md"
_HEAD = """# fleet.yaml and GitRepo, compared with Rancher Fleet

Repositories that were written for Rancher Fleet work unchanged. Each row of the first tables is a
test case in `tests/conformance/fleet_yaml`; other tests cover the rest.
`python -m tests.support.pages.fleet_compat` writes this page.

- *same*: fleetctl does the same as Fleet.
- *better*: Fleet's behaviour surprises users; the last column shows what fleetctl does.
- *stricter*: fleetctl refuses it, or asks for an explicit setting.
- *not yet*: fleetctl reads and shows the key, but it has no effect or is refused.

"""
_GROUPS = (
    (
        "Names, labels and state",
        ("name", "labels", "paused", "rolloutStrategy", "imageScans", "dependsOn"),
    ),
    (
        "Which clusters",
        ("targets", "targetCustomizations", "targetCustomizationMode", "overrideTargets"),
    ),
    (
        "Namespaces and lifetime",
        (
            "defaultNamespace",
            "namespace",
            "createNamespace",
            "deleteNamespace",
            "keepResources",
            "serviceAccount",
        ),
    ),
    ("Helm", ("helm", "deleteCRDResources")),
    ("Raw YAML and Kustomize", ("yaml", "kustomize")),
    (
        "Drift, differences and copies",
        ("diff", "ignore", "correctDrift", "downstreamResources", "forceSyncGeneration"),
    ),
)
# What the agent does on a cluster; each is proved by a test with real helm and a real API server.
_CLUSTER = (
    (
        "A CustomResourceDefinition and objects of its kind in one bundle.",
        "better",
        "helm and Fleet fail; here the agent applies the definition first and waits for it.",
    ),
    (
        "A chart's `crds` folder at an upgrade.",
        "better",
        (
            "helm and Fleet install it once and never update it; here a new generation"
            " applies it, unless another program owns the definition."
        ),
    ),
    (
        "More objects than one release record holds.",
        "better",
        "Fleet fails in helm; here raw and Kustomize bundles become several releases.",
    ),
    (
        "A manual change before the next commit.",
        "better",
        "Fleet stops with a conflict; here the values in Git take precedence.",
    ),
    (
        "A field under `diff.comparePatches`, or of an autoscaler, at the next commit.",
        "better",
        "Fleet resets it; here it keeps the value on the cluster.",
    ),
    (
        "`helm.force` and `correctDrift.force`.",
        "better",
        (
            "in Fleet the API server still refuses the change; here the agent deletes"
            " and creates the object, but never a volume, a claim, a namespace or a"
            " definition."
        ),
    ),
    (
        "`correctDrift` while another program changes the object again.",
        "better",
        (
            "Fleet corrects each change; here the agent corrects it after pauses that grow to 10"
            " minutes."
        ),
    ),
    ("`correctDrift.keepFailHistory`.", "same", ""),
    ("A bundle that states the Namespace of its own release.", "same", ""),
    (
        "Duplicate entries in a list, or a field that the schema does not declare.",
        "better",
        (
            "Fleet on helm 4 refuses it without `helm.force` or `helm.takeOwnership`; here the"
            " release is applied client-side, with a warning."
        ),
    ),
    (
        (
            "An upgrade or removal of a release with a kind that no longer exists on the"
            " cluster, or with an API version that it no longer serves."
        ),
        "better",
        (
            "helm and Fleet fail until somebody rewrites the release by hand; here the agent"
            " does it, and the log names each change."
        ),
    ),
    (
        "A Namespace that an upgrade or a removal would delete while other releases use it.",
        "better",
        "helm and Fleet delete it with all its objects; here it stays, and the log names it.",
    ),
    (
        "A commit adds an object that already exists and belongs to no release.",
        "stricter",
        (
            "Fleet takes it over in an upgrade, but not in an installation; here both are"
            " refused, with the name of the object, until `helm.takeOwnership: true`."
        ),
    ),
)
# How objects are read, each with its test in tests/unit/core/lint/test_keys.py or
# tests/unit/manager/commands/test_validation.py.
_OBJECTS = (
    (
        "An object in the format of `kubectl get -o yaml`, also in a List.",
        "same",
        "`status` and fields that Kubernetes writes are ignored.",
    ),
    ("null for any key.", "same", "it counts as absent."),
    ("Keys in another letter case.", "same", "they are read, with a warning."),
    (
        "An unknown key of a spec.",
        "better",
        (
            "a key that is similar to a known key is refused, any other is a warning; Kubernetes"
            " drops both silently."
        ),
    ),
    (
        (
            "`ociRegistrySecret`, `webhookSecret`, `imageScanInterval`, `imageScanCommit`,"
            " `helmSecretNameForPaths`, keys of the agent's pod."
        ),
        "not yet",
        "accepted with a warning; they have no effect.",
    ),
    (
        "`insecureSkipTLSVerify: true`.",
        "better",
        "refused: set the certificate authority in `caBundle`. `false` is accepted.",
    ),
    (
        "A selector with a wrong form or an unknown key.",
        "better",
        "refused; in Fleet the rest of it may select every cluster.",
    ),
    (
        "`spec.strict: true` of a GitRepo.",
        "better",
        "unknown and misplaced keys are errors; Fleet has no such key.",
    ),
)
# What the kind Schedule does, each with its test in
# tests/integration/manager/rollouts/test_schedules.py or tests/unit/core.
_SCHEDULE = (
    (
        (
            "`schedule` with seconds (six or seven fields, Sunday is 1), `duration`, `location`,"
            " `targets.clusters`."
        ),
        "same",
        "",
    ),
    (
        "`schedule` with five fields, as in crontab (Sunday is 0 or 7).",
        "better",
        "Fleet refuses it.",
    ),
    (
        "No `location`.",
        "better",
        "UTC; Fleet uses the time zone of its controller's machine. `Local` is refused here.",
    ),
    ("`deny: true`: the window forbids changes.", "better", "Fleet's windows only allow changes."),
    (
        "A window that is longer than the time to the next one.",
        "better",
        "they become one window; Fleet refuses some of them, depending on the day.",
    ),
    (
        "A window whose start does not exist or exists twice on a day when the clock changes.",
        "better",
        "it opens once on each local day.",
    ),
    (
        "A Schedule is created, or a manager starts, while its window is open.",
        "better",
        "the window is open; Fleet waits for the next one.",
    ),
    (
        "A cluster whose labels change.",
        "better",
        "the Schedule applies to it at once; Fleet checks again when the window opens.",
    ),
    (
        "A closed window.",
        "better",
        "the state is WaitingForWindow with the time when it opens; Fleet shows OutOfSync.",
    ),
)
# Registration and logins, each with its test in tests/hostile.
_ACCESS = (
    (
        "A ClusterRegistrationToken without `ttl`.",
        "better",
        "Fleet's token never expires; here it expires after 24 hours. `ttl: 0` is refused.",
    ),
    (
        "`uses` of a ClusterRegistrationToken.",
        "better",
        "Fleet has no limit; here 1,000 enrolments, or as many as `uses` allows.",
    ),
    (
        "A deleted cluster whose agent still has its token.",
        "better",
        "its key and its tokens stay revoked when a Cluster with that name is created again.",
    ),
    (
        "A user, password or token in the address of `repo`, `helm.repo` or `helm.chart`.",
        "better",
        (
            "Fleet shows it to every reader; here it is refused: put it into the Secret of"
            " `clientSecretName` or `helmSecretName`."
        ),
    ),
    (
        "A user without a password in `repo`: `https://USER@HOST/…`.",
        "stricter",
        (
            "Fleet accepts it; here only the user that Azure DevOps writes,"
            " `https://ORG@dev.azure.com/ORG/…`, is accepted, because another user may be a"
            " token. Write the address without `USER@`."
        ),
    ),
    (
        "A query or fragment in `repo`.",
        "stricter",
        (
            "Fleet passes it to Git; here values other than plain ones of known keys (`ref`,"
            " `version`, `path`) are refused."
        ),
    ),
    (
        "Numbers beyond 64 bits in a document.",
        "same",
        "whole numbers become floats, and numbers beyond float64 are refused.",
    ),
    (
        "A chart archive with very many pax records.",
        "stricter",
        "helm reads it; here the limit is 100,000 records in all archives of a chart.",
    ),
    (
        "`helmRepoURLRegex`.",
        "better",
        (
            "Fleet matches it from the start (older versions anywhere), and the match may end"
            " inside a host; here it is matched from the start, and must match the whole"
            " scheme, host and port, and whole segments of the path."
        ),
    ),
)

# What a bundle reads and how its objects are compared, each with its test in tests/hostile,
# tests/integration or tests/unit.
_READS = (
    (
        (
            "A kustomization that names `https://` or Git addresses, in any field or in a generator"
            " or transformer document."
        ),
        "stricter",
        (
            "Fleet fetches them on each cluster; here they are refused with file, line and field:"
            " copy the file into the bundle."
        ),
    ),
    (
        "`helmCharts` in a kustomization, and plugins that are not built into kustomize.",
        "same",
        "both refuse it.",
    ),
    (
        "An entry of `helm.valuesFrom` with `configMapKeyRef` and `secretKeyRef`.",
        "same",
        "both are read; the Secret overrides the ConfigMap.",
    ),
    (
        "`helm.valuesFrom` that names an object of `downstreamResources` of the same bundle.",
        "better",
        (
            "Fleet's first installation fails if the copy does not exist yet; here the agent"
            " reads its content before it writes it."
        ),
    ),
    (
        "`add`, `remove` and `replace` in `diff.comparePatches[].operations`.",
        "same",
        "they exclude the field from the comparison.",
    ),
    (
        "`move`, `copy`, `test` or an unknown word in `diff.comparePatches[].operations`.",
        "better",
        "they exclude nothing, silently in Fleet; here each is a warning of the scan.",
    ),
    (
        "An operation of `diff.comparePatches` that does not fit an object.",
        "better",
        (
            "in Fleet it disables all operations for that object; here only this operation has no"
            " effect."
        ),
    ),
    (
        "A file name of up to 255 bytes in a path of up to 1,024 bytes, also in a chart.",
        "same",
        "longer ones are refused with the name of the file.",
    ),
    (
        ("A chart with `kubeVersion`, or that reads API versions, rendered without a cluster."),
        "better",
        (
            "`render`, `diff` and `plan` have `--kube-version` and `--api-versions`; `plan`"
            " uses the version that the cluster reports."
        ),
    ),
    (
        (
            "A `caBundle` that is empty, or white space in base64, and that another program fills"
            " in."
        ),
        "better",
        (
            "it is no drift and stays at the next commit; Fleet supports only webhooks without"
            " the field."
        ),
    ),
    (
        "A kustomization with such an address that no `kustomize.dir` of a cluster uses.",
        "same",
        "it is not read.",
    ),
)


def page() -> str:
    rows: dict[str, list[str]] = {}
    for case in cases():
        rows.setdefault(_group(case), []).append(_row(case))
    tables = []
    for title in (*(name for name, _ in _GROUPS), "Others"):
        if title in rows:
            head = f"## {title}\n\n| what | keys | compared | why |\n| --- | --- | --- | --- |\n"
            tables.append(head + "\n".join(rows[title]) + "\n")
    head = "## On the cluster\n\n| what | compared | why |\n| --- | --- | --- |\n"
    tables.append(
        head + "".join(f"| {what} | {verdict} | {why} |\n" for what, verdict, why in _CLUSTER)
    )
    head = "## Objects\n\n| what | compared | why |\n| --- | --- | --- |\n"
    tables.append(
        head + "".join(f"| {what} | {verdict} | {why} |\n" for what, verdict, why in _OBJECTS)
    )
    head = "## Schedules\n\n| what | compared | why |\n| --- | --- | --- |\n"
    tables.append(
        head + "".join(f"| {what} | {verdict} | {why} |\n" for what, verdict, why in _SCHEDULE)
    )
    head = "## Registration and logins\n\n| what | compared | why |\n| --- | --- | --- |\n"
    tables.append(
        head + "".join(f"| {what} | {verdict} | {why} |\n" for what, verdict, why in _ACCESS)
    )
    head = "## References and drift\n\n| what | compared | why |\n| --- | --- | --- |\n"
    tables.append(
        head + "".join(f"| {what} | {verdict} | {why} |\n" for what, verdict, why in _READS)
    )
    return _HEAD + "\n".join(tables)


def _group(case: Case) -> str:
    first = case.keys[0].partition(".")[0]
    return next((title for title, keys in _GROUPS if first in keys), "Others")


def _row(case: Case) -> str:
    keys = ", ".join(f"`{key}`" for key in case.keys[:4]) + (", …" if len(case.keys) > 4 else "")
    return f"| {_cell(case.about)} | {keys} | {case.verdict} | {_cell(case.why)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
