"""docs/fleet-compat.md, written from the corpus: `python -m tests.support.pages.fleet_compat`."""

from __future__ import annotations

from pathlib import Path

from tests.support.pages.cases import Case, cases

PAGE = Path(__file__).parents[3] / "docs" / "fleet-compat.md"
_HEAD = """# fleet.yaml and GitRepo, compared with Rancher Fleet

Repositories that were written for Rancher Fleet work unchanged. Each row below is a case of `tests/conformance/fleet_yaml`, which the tests
run; this page is written from them (`python -m tests.support.pages.fleet_compat`). *same*: what Fleet does. *better*: Fleet does something that nobody
means, and the last column says what happens here. *stricter*: it is refused here until the bundle asks for it. *not yet*: read and
shown, but without the effect.

"""  # noqa: E501
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
        "A definition and objects of its kind in one bundle.",
        "better",
        "helm and Fleet fail; here the definition is applied first and waited for.",
    ),
    (
        "A chart's `crds` folder at an upgrade.",
        "better",
        (
            "helm and Fleet install it once and never again; here a new generation applies it,"
            " unless somebody else holds the definition."
        ),
    ),
    (
        "More objects than one release record holds.",
        "better",
        "Fleet fails in helm; here raw and Kustomize bundles become several releases.",
    ),
    (
        "A hand edit before the next commit.",
        "better",
        "Fleet stops with a conflict; here Git wins on what it states.",
    ),
    (
        "A field under `diff.comparePatches`, or an autoscaler's, at the next commit.",
        "better",
        "Fleet resets it; here it keeps the value that it has in the cluster.",
    ),
    (
        "`helm.force` and `correctDrift.force`.",
        "better",
        (
            "helm's own is refused too; here the object is made anew, but never a volume, a claim,"
            " a namespace or a definition."
        ),
    ),
    (
        "`correctDrift` against something that changes it back.",
        "better",
        "Fleet does it at each change; here after pauses that grow to 10 minutes.",
    ),
    ("`correctDrift.keepFailHistory`.", "same", ""),
    ("A bundle that states the Namespace of its own release.", "same", ""),
    (
        "Two entries of one key in a list, or a field that the schema does not declare.",
        "better",
        (
            "Fleet on helm 4 refuses it without `helm.force` or `helm.takeOwnership`; here the"
            " release is applied client-side, with a warning."
        ),
    ),
    (
        (
            "A kind that is gone from the cluster, or an API version that it no longer serves, in a"
            " release that is upgraded or removed."
        ),
        "better",
        (
            "helm and Fleet are stuck until somebody rewrites the release by hand; here the agent"
            " does it, and the log names each change."
        ),
    ),
    (
        "A Namespace that an upgrade or a removal would delete while other releases use it.",
        "better",
        "helm and Fleet delete it with all that is in it; here it stays, and the log names it.",
    ),
    (
        "An object that a commit adds and that exists already, without a release.",
        "stricter",
        (
            "Fleet takes it over at an upgrade, and not at an installation; here both name it and"
            " ask for `helm.takeOwnership: true`."
        ),
    ),
)
# How objects are read, each with its test in tests/unit/core/lint/test_keys.py or
# tests/unit/manager/commands/test_validation.py.
_OBJECTS = (
    (
        "An object as `kubectl get -o yaml` prints it, also in a List.",
        "same",
        "what Kubernetes writes and `status` are passed over.",
    ),
    ("null for any key.", "same", "it counts as not written."),
    ("Keys in another letter case.", "same", "they are read, with a warning."),
    (
        "An unknown key of a spec.",
        "better",
        "a typing error is refused, any other is a warning; Kubernetes drops both silently.",
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
        "refused: give the authority in `caBundle`. `false` is accepted.",
    ),
    (
        "A selector of a wrong form, or with an unknown key.",
        "better",
        "refused; in Fleet what is left of it may pick every cluster.",
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
        "UTC; Fleet takes the time zone of its controller's machine, and `Local` is refused here.",
    ),
    ("`deny: true`: the window forbids.", "better", "Fleet's windows only allow."),
    (
        "A window that is longer than the time to the next one.",
        "better",
        "they are one; Fleet refuses some of them, as the day has it.",
    ),
    (
        "A window whose start the clock leaves out or shows twice.",
        "better",
        "it opens once on each local day.",
    ),
    (
        "A Schedule that is made, or a manager that starts, while its window is open.",
        "better",
        "it is open; Fleet waits for the next one.",
    ),
    (
        "A cluster whose labels change.",
        "better",
        "it is under the Schedule at once; Fleet looks again when the window opens.",
    ),
    (
        "A closed window.",
        "better",
        "the state is WaitingForWindow, and says until when; Fleet says OutOfSync.",
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
        "its key and its tokens stay revoked when a Cluster of that name is created again.",
    ),
    (
        "A user, password or token in the address of `repo`, `helm.repo` or `helm.chart`.",
        "better",
        (
            "Fleet shows it to every reader; here it is refused: a Secret in `clientSecretName` or"
            " `helmSecretName` holds it."
        ),
    ),
    (
        "A user without a password in `repo`: `https://USER@HOST/…`.",
        "stricter",
        (
            "Fleet takes it; here only the user that Azure DevOps writes,"
            " `https://ORG@dev.azure.com/ORG/…`, is taken, because another one may be a token."
            " Write the address without `USER@`."
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
        "helm reads it; here 100,000 records in all archives of a chart are the limit.",
    ),
    (
        "`helmRepoURLRegex`.",
        "better",
        (
            "Fleet matches it from the start (older ones anywhere), and it may end inside a host;"
            " here it is matched from the start, and must match the whole scheme, host and port,"
            " and whole segments of the path."
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
        "both refuse them.",
    ),
    (
        "An entry of `helm.valuesFrom` with `configMapKeyRef` and `secretKeyRef`.",
        "same",
        "the ConfigMap, then the Secret over it.",
    ),
    (
        "`helm.valuesFrom` that names what `downstreamResources` of the same bundle bring.",
        "better",
        (
            "Fleet's first installation fails when the copy is not there yet; here its content is"
            " read before it is written."
        ),
    ),
    (
        "`add`, `remove` and `replace` in `diff.comparePatches[].operations`.",
        "same",
        "they make the field equal on both sides.",
    ),
    (
        "`move`, `copy`, `test` or an unknown word in `diff.comparePatches[].operations`.",
        "better",
        "they leave nothing out in Fleet either, silently; here each is a warning of the scan.",
    ),
    (
        "An operation of `diff.comparePatches` that does not fit an object.",
        "better",
        "in Fleet it voids all operations for that object; here it has no effect of its own.",
    ),
    (
        "A file name of up to 255 bytes in a path of up to 1,024 bytes, also in a chart.",
        "same",
        "longer ones are refused with the file's name.",
    ),
    (
        (
            "A chart with `kubeVersion`, or that looks at API versions, when it is rendered without"
            " a cluster."
        ),
        "better",
        (
            "`render`, `diff` and `plan` take `--kube-version` and `--api-versions`, and `plan` the"
            " version that the cluster reports."
        ),
    ),
    (
        "A `caBundle` that is empty, or white space in base64, and that something fills in.",
        "better",
        "it is no drift and stays at the next commit; Fleet knows only webhooks without the field.",
    ),
    (
        "A kustomization with such an address that no cluster's `kustomize.dir` reaches.",
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
