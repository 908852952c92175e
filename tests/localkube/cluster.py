"""One API server: its files, its command line, its kubeconfig."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.localkube.apiclient import Api
from tests.localkube.daemon import Daemon
from tests.localkube.keys import write_private

RESTART_SECONDS = 60.0


class Cluster:
    """A Kubernetes API on loopback, with a token that may do everything (group system:masters)."""

    def __init__(self, name: str, home: Path, argv: list[str], etcd_url: Callable[[], str]) -> None:
        self.name, self.home = name, home
        self.kubeconfig = home / "kubeconfig"
        self.ca_file = home / "certs" / "apiserver.crt"
        self.on_change: Callable[[], None] = lambda: None
        self._etcd_url, self._argv = etcd_url, argv
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.token = self._token()
        self.daemon = Daemon(
            f"kube-apiserver {name}", home / "apiserver.log", self._command, self._ready
        )

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT``."""
        return f"https://127.0.0.1:{self.daemon.ports[0]}"

    @property
    def pid(self) -> int:
        """The process id of the API server; LocalkubeError when it is not running."""
        return self.daemon.pid

    def api(self) -> Api:
        """A client of this API server; one for each thread."""
        return Api(self.kubeconfig)

    def stop(self) -> None:
        """End the API server in good order."""
        self.daemon.stop()
        self.on_change()

    def kill(self) -> None:
        """End the API server with SIGKILL."""
        self.daemon.kill()
        self.on_change()

    def restart(self, seconds: float = RESTART_SECONDS) -> None:
        """Stop it if it runs and start it again, with the same port, token, CA and data; returns
        when it is ready.
        """
        self.daemon.stop()
        self.daemon.launch()
        self.daemon.wait(time.monotonic() + seconds)
        self.on_change()

    def _token(self) -> str:
        """The token of an earlier start in this directory, else a new one."""
        path = self.home / "tokens.csv"
        if not path.exists():
            write_private(
                path,
                f"{secrets.token_urlsafe(32)},localkube-admin,localkube-admin,system:masters\n",
            )
        return path.read_text().split(",")[0]

    def _command(self, ports: Sequence[int]) -> list[str]:
        certs, keys = self.home / "certs", self.home.parent
        return [
            *self._argv,
            f"--etcd-servers={self._etcd_url()}",
            f"--etcd-prefix=/{self.name}",
            f"--secure-port={ports[0]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={certs}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys / 'sa.pub'}",
            f"--service-account-signing-key-file={keys / 'sa.key'}",
            f"--token-auth-file={self.home / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/16",
            # Without controllers nobody makes the service account that this plugin would ask for.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            "--profiling=false",
        ]

    def _ready(self) -> bool:
        """``/readyz``, and the namespace ``default``, which comes a moment later."""
        if not self.ca_file.exists() or not self._write_kubeconfig():
            return False
        try:
            api = Api(self.kubeconfig, seconds=5)
        except ValueError:
            # The certificate is only half written yet.
            return False
        try:
            return api.ok("/readyz") and api.ok("/api/v1/namespaces/default")
        finally:
            api.close()

    def _write_kubeconfig(self) -> bool:
        authority = self.ca_file.read_bytes()
        if not authority.rstrip().endswith(b"-----END CERTIFICATE-----"):
            return False
        text = json.dumps(self._config(authority), indent=1)
        if not self.kubeconfig.exists() or self.kubeconfig.read_text() != text:
            write_private(self.kubeconfig, text)
        return True

    def _config(self, authority: bytes) -> dict[str, object]:
        """JSON is YAML: kubectl and helm read it, and we need no YAML parser."""
        cluster = {
            "server": self.url,
            "certificate-authority-data": base64.b64encode(authority).decode(),
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": cluster}],
            "users": [{"name": "localkube-admin", "user": {"token": self.token}}],
            "contexts": [
                {"name": self.name, "context": {"cluster": self.name, "user": "localkube-admin"}}
            ],
            "current-context": self.name,
        }
