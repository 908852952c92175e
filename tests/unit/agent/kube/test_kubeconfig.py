"""The kubeconfig of a Pod, and logins that are renewed while the agent runs."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from agent.kube import kubeconfig
from fleetctl.core.model.errors import UsageError

HOST, PORT = "10.0.0.1", "443"


class Api:
    """Takes one token; counts what it refused."""

    def __init__(self, token: str) -> None:
        self.token, self.refused = token, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == f"Bearer {self.token}":
            return httpx.Response(200, json={})
        self.refused += 1
        return httpx.Response(401, json={})


def renew(path: Path, token: str) -> None:
    """As the kubelet does: another file in its place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(token)
    fresh.replace(path)


def test_a_pod_has_a_kubeconfig_that_names_the_kubelets_files(tmp_path: Path) -> None:
    """No token in it, so that helm and the agent read the one that is there now."""
    (tmp_path / "namespace").write_text("fleet\n")
    (tmp_path / "token").write_text("secret")
    made = json.loads(kubeconfig.pod_kubeconfig(tmp_path, HOST, PORT))
    assert made["clusters"][0]["cluster"] == {
        "server": "https://10.0.0.1:443",
        "certificate-authority": str(tmp_path / "ca.crt"),
    }
    assert made["users"][0]["user"] == {"tokenFile": str(tmp_path / "token")}
    assert made["contexts"][0]["context"]["namespace"] == "fleet"
    assert b"secret" not in kubeconfig.pod_kubeconfig(tmp_path, HOST, PORT)


def test_an_ipv6_service_address_is_written_in_brackets(tmp_path: Path) -> None:
    """As client-go's net.JoinHostPort does."""
    made = json.loads(kubeconfig.pod_kubeconfig(tmp_path, "fd00::1", PORT))
    assert made["clusters"][0]["cluster"]["server"] == "https://[fd00::1]:443"


def test_outside_of_a_pod_it_is_one_clear_error(tmp_path: Path) -> None:
    """The variables of the kubelet are not there."""
    with pytest.raises(UsageError, match="KUBERNETES_SERVICE_HOST"):
        kubeconfig.pod_kubeconfig(tmp_path, "", "")


def test_a_renewed_token_is_used_from_the_next_request_on(tmp_path: Path) -> None:
    """The kubelet renews it every hour: nothing is refused by that."""
    path, api = tmp_path / "token", Api("one")
    path.write_text("one\n")
    with httpx.Client(
        transport=httpx.MockTransport(api), auth=kubeconfig.TokenFile(path)
    ) as client:
        assert client.get("https://api/").status_code == 200
        renew(path, "two")
        api.token = "two"
        assert client.get("https://api/").status_code == 200
    assert api.refused == 0


def test_a_token_that_vanishes_for_a_moment_is_kept(tmp_path: Path) -> None:
    """A volume that is being written anew is no reason to lose the login; one that never was there
    is.
    """
    path, api = tmp_path / "token", Api("one")
    with pytest.raises(OSError, match="No such file"):
        kubeconfig.TokenFile(path)
    path.write_text("one")
    with httpx.Client(
        transport=httpx.MockTransport(api), auth=kubeconfig.TokenFile(path)
    ) as client:
        path.unlink()
        assert client.get("https://api/").status_code == 200


def written(path: Path, **user: str) -> Path:
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(document))
    return path


def test_a_kubeconfig_that_was_written_anew_is_noticed(tmp_path: Path) -> None:
    """k3s renews the certificate in its kubeconfig: the agent takes the new one, and says nothing
    new of the old.
    """
    path = written(tmp_path / "config", token="one")
    old = kubeconfig.read(path)
    assert kubeconfig.read_if_changed(path, old) is None
    written(tmp_path / "next", token="twice").replace(path)
    found = kubeconfig.read_if_changed(path, old)
    assert found is not None
    assert found.stamp != old.stamp


def test_a_broken_kubeconfig_changes_nothing_in_a_running_agent(tmp_path: Path) -> None:
    """Half written is not yet written."""
    path = written(tmp_path / "config", token="one")
    old = kubeconfig.read(path)
    path.write_text("clusters: [")
    assert kubeconfig.read_if_changed(path, old) is None


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"exec": "x"}, "runs a program"),
        ({"tokenFile": "none"}, "No such file"),
        ({"client-certificate": "none.crt", "client-key": "none.key"}, "none.crt"),
    ],
)
def test_a_login_that_cannot_be_used_is_one_line(
    tmp_path: Path, user: dict[str, str], said: str
) -> None:
    """The file is named, and what is wrong with it."""
    path = written(tmp_path / "config", **user)
    text = (
        path.read_text().replace("http://", "https://")
        if "client-certificate" in user
        else path.read_text()
    )
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        kubeconfig.read(path)
    assert said in caught.value.summary
    assert "\n" not in caught.value.summary
