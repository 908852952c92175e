"""The examples that `--help` shows, by command as it is typed. A test parses each of them."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "apply": (
        "fleetctl apply -f gitrepo.yaml",
        "fleetctl apply -f fleet/ --dry-run",
        "kubectl get clusters.fleet.cattle.io -A -o yaml | fleetctl apply -f -",
    ),
    "bundle correct": ("fleetctl bundle correct apps-web --cluster paris",),
    "bundle diff": (
        "fleetctl bundle diff apps-web --cluster paris",
        "fleetctl bundle diff apps-web --ignore-rule --write apps/web/fleet.yaml",
    ),
    "bundle get": ("fleetctl bundle get apps-web",),
    "bundle history": (
        "fleetctl bundle history apps-web",
        "fleetctl bundle history apps-web --cluster paris",
    ),
    "bundle list": ("fleetctl bundle list --not-ready", "fleetctl bundle list --repo apps -o json"),
    "bundle status": (
        "fleetctl bundle status",
        "fleetctl bundle status apps-web --state Modified,ErrApplied -w",
    ),
    "bundles": ("fleetctl bundles .", "fleetctl bundles .@v1.2.0 --path apps"),
    "cluster delete": (
        "fleetctl cluster delete paris --uninstall",
        "fleetctl cluster delete -l env=test",
    ),
    "cluster label": (
        "fleetctl cluster label paris env=prod tier-",
        "fleetctl cluster label -l region=eu freeze=yes --dry-run",
    ),
    "cluster list": (
        "fleetctl cluster list -l env=prod -o wide",
        "fleetctl cluster list --state Offline",
    ),
    "cluster pause": ("fleetctl cluster pause paris", "fleetctl cluster pause -l region=eu"),
    "cluster register": (
        "fleetctl cluster register paris -l env=prod",
        "fleetctl cluster register paris --replace",
    ),
    "delete": ("fleetctl delete -f gitrepo.yaml", "fleetctl delete schedule/night schedule/freeze"),
    "diff": (
        "fleetctl diff .@main . --cluster paris --label env=prod",
        "fleetctl diff old/ new/ --clusters clusters.yaml",
    ),
    "explain": ("fleetctl explain helm.values", "fleetctl explain gitrepo"),
    "get": (
        "fleetctl get all --not-ready",
        "fleetctl get gr,cl -A",
        "fleetctl get cluster/paris -o yaml",
    ),
    "gitrepo add": (
        "fleetctl gitrepo add apps https://git.example.com/apps.git -l env=prod",
        (
            "fleetctl gitrepo add apps https://git.example.com/apps.git --username ci"
            " --password-stdin < token"
        ),
    ),
    "gitrepo pause": ("fleetctl gitrepo pause apps", "fleetctl gitrepo pause --all"),
    "gitrepo sync": ("fleetctl gitrepo sync apps",),
    "login": (
        "fleetctl login https://fleet.example.com:7443 --ca-pin 9f2c --token-file admin.token",
    ),
    "plan": (
        "fleetctl plan apps --branch feature",
        "fleetctl plan apps --commit 1a2b3c4",
        "fleetctl plan apps --local . -o markdown",
    ),
    "render": (
        "fleetctl render . --cluster paris --label env=prod",
        "fleetctl render . --clusters clusters.yaml --bundle apps-web",
    ),
    "rollback": (
        "fleetctl rollback apps-web --dry-run",
        "fleetctl rollback apps-web --to 7 --reason 'errors at checkout'",
        "fleetctl rollback apps-web --release",
    ),
    "rollout approve": ("fleetctl rollout approve apps-web",),
    "rollout status": ("fleetctl rollout status", "fleetctl rollout status apps-web"),
    "status": ("fleetctl status", "fleetctl status -A -w"),
    "targets": ("fleetctl targets . --clusters clusters.yaml",),
    "token create": ("fleetctl token create ci --role read -n fleet-default",),
    "validate": ("fleetctl validate .", "fleetctl validate apps/web/fleet.yaml --strict"),
    "wait": (
        "fleetctl wait gitrepo/apps --commit 1a2b3c4 --timeout 10m",
        "fleetctl wait bundle/apps-web --for applied",
        "fleetctl wait rollout/apps-web --for completed",
    ),
    "why": ("fleetctl why paris apps-web", "fleetctl why bundle/apps-web"),
}
