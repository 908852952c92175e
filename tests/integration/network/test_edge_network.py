"""Agents where the network is bad: slow, lossy, broken in the middle, behind a NAT, or a
hotel's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.controlplane import identity
from agent.controlplane import tls as agent_tls
from agent.controlplane.client import Uplink
from agent.kube.client import Kube
from examples.demo.parts import Agent, free_port, tail
from fleetctl.core.model.errors import ClusterUnreachable, TryLater
from fleetctl.core.model.wire import StatusRequest
from manager.security import tls
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone
from tests.support.network.edge_proxy import EdgeProxy

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"
YEAR = 365 * 86400


@pytest.fixture
def edge(fleet: Fleet, tmp_path: Path) -> Iterator[EdgeProxy]:
    """The network between the agents and the manager."""
    files = fleet.manager.data_dir / "tls"
    ensure_identity, stranger = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    )
    ensure_identity.load_cert_chain(files / "server.pem", files / "server.key")
    foreign = certificate(tmp_path / "stranger", tls.today())
    stranger.load_cert_chain(foreign.cert_file, foreign.key_file)
    with EdgeProxy(
        fleet.manager.port, {"manager": ensure_identity, "stranger": stranger}
    ).running() as proxy:
        yield proxy


def certificate(folder: Path, now: datetime) -> tls.TlsIdentity:
    """For 127.0.0.1, by a CA of its own, made at that time."""
    folder.mkdir()
    return tls.ensure_identity(folder, ["127.0.0.1"], now=now)


def joined(
    fleet: Fleet, name: str, target: Path, url: str = "", prefix: tuple[str, ...] = ()
) -> Agent:
    """Registered and enrolled at `url`, not running. `prefix`: by which command it is run."""
    made = fleet.call("POST", f"clusters/fleet-default/{name}/register", {"labels": {}})
    agent = Agent(fleet.folder, name, fleet.env, target_dir=target)
    agent._enrol = [*prefix, *agent._enrol]
    agent.process.argv = [*prefix, *agent.process.argv]
    agent.enrol(url or fleet.manager.url, made["caPin"], made["token"])
    fleet.agents[name] = agent
    return agent


def uplink(agent: Agent, clock: Callable[[], float] = time.time, **more: float) -> Uplink:
    known, key = identity.load(agent.state_dir)
    return Uplink(known, key, clock, **more)


def noise(size: int) -> str:
    """Text that packs badly, in YAML."""
    rng = random.Random(7)
    return MAP.format(
        name="noise", value="".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=size))
    )


BAD: dict[str, dict[str, Any]] = {
    "a black hole": {"hole": True},
    "resets": {"refuse": True},
    "one byte after the other": {"drip": True},
    "cut in the handshake": {"cut_after": 700},
    "cut in the answer": {"cut_after": -60},  # so many bytes before its end
    "half closed": {"half_close_after": -60},
    "a portal with its own certificate": {"portal": "stranger"},
    "a portal on the right path": {"portal": "manager"},
}


@pytest.mark.parametrize("what", BAD)
def test_no_request_outlives_its_deadline_and_the_next_good_one_is_answered(
    fleet: Fleet, edge: EdgeProxy, tmp_path: Path, what: str
) -> None:
    """Whatever happens on the way it is tried again later, for a poll as for a report; nothing else
    is concluded.
    """
    agent = joined(fleet, "edge", tmp_path / "manifests", f"https://127.0.0.1:{edge.port}")

    def poll(door: Uplink) -> Any:
        return door.fetch_desired("", 0)

    def report(door: Uplink) -> Any:
        return door.report(StatusRequest(instance=door.instance, seq=1, full=True))

    async def once(call: Callable[[Uplink], Any]) -> None:
        door = uplink(agent, seconds=4.0)
        try:
            async with asyncio.timeout(30):  # 4 s are its own
                await call(door)
        finally:
            await door.close()

    async def scene() -> None:
        for call in (poll, report):
            before = edge.down
            await once(call)
            whole = edge.down - before
            edge.becomes(
                **{
                    key: whole + value if key.endswith("after") and value < 0 else value
                    for key, value in BAD[what].items()
                }
            )
            with pytest.raises(TryLater):
                await once(call)
            edge.becomes()
        await once(poll)

    asyncio.run(scene())


@pytest.mark.parametrize("years", [-40, -3, 25])
def test_a_clock_that_is_years_off(fleet: Fleet, tmp_path: Path, years: int) -> None:
    """It signs with the manager's time after one refusal, and goes back when somebody has set the
    clock.
    """
    agent = joined(fleet, "edge", tmp_path / "manifests")
    wrong = [years * YEAR]

    async def scene() -> None:
        door = uplink(agent, lambda: time.time() + wrong[0])
        try:
            assert await door.fetch_desired("", 0) is not None
            assert abs(door.offset + years * YEAR) < 60
            assert abs(door.now() - time.time()) < 60
            wrong[0] = 0
            assert await door.fetch_desired("", 0) is not None
            assert door.offset == 0
        finally:
            await door.close()

    asyncio.run(scene())


def test_the_managers_certificate_may_have_run_out_but_not_be_anothers(tmp_path: Path) -> None:
    """Dates do not count with the pinned CA, whose own may be over too; a name and a signature
    do.
    """
    old = certificate(tmp_path / "old", tls.today() - timedelta(days=60 * 365))
    foreign = certificate(tmp_path / "foreign", tls.today())

    async def scene() -> None:
        for cert, name, good in (
            (old, "127.0.0.1", True),
            (old, "localhost2", False),
            (foreign, "127.0.0.1", False),
        ):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert.cert_file, cert.key_file)
            server = await asyncio.start_server(
                lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
            )
            port = server.sockets[0].getsockname()[1]
            trusted = agent_tls.context(old.ca_pem.decode())
            try:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=trusted, server_hostname=name
                )
                writer.transport.abort()
                assert good, name
            except ssl.SSLCertVerificationError:
                assert not good, name
            server.close()

    asyncio.run(scene())


@pytest.mark.parametrize("named", ["certificate-authority-data", "certificate-authority"])
def test_an_api_servers_certificate_may_have_run_out_where_the_kubeconfig_names_its_ca(
    tmp_path: Path, named: str
) -> None:
    """The agent sees what runs, whatever its clock says; a CA that the file does not name is
    none.
    """
    old = certificate(tmp_path / "old", tls.today() - timedelta(days=60 * 365))
    foreign = certificate(tmp_path / "foreign", tls.today())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            said = b'{"gitVersion": "v1.36.1"}'
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (len(said), said)
            )
        writer.close()

    async def scene() -> None:
        for cert, good in ((old, True), (foreign, False)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert.cert_file, cert.key_file)
            server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ca = (
                base64.b64encode(old.ca_pem).decode()
                if named.endswith("data")
                else str(tmp_path / "old" / "tls" / "ca.pem")
            )
            at = {
                "clusters": [{"name": "c", "cluster": {"server": url, named: ca}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
            doc = {
                **at,
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
            (tmp_path / "config").write_text(json.dumps(doc))
            async with Kube(tmp_path / "config").open() as door:
                if good:
                    assert await door.version() == "v1.36.1"
                else:
                    with pytest.raises(ClusterUnreachable, match="certificate verify failed"):
                        await door.version()
            server.close()

    asyncio.run(scene())


class TestWholeAgents:
    def test_a_hotel_between_two_commits(
        self, clone: Clone, fleet: Fleet, edge: EdgeProxy, tmp_path: Path
    ) -> None:
        """Behind the portal it keeps what it has; afterwards the commit and the reports arrive."""
        target = tmp_path / "manifests" / "default--apps.yaml"
        clone.push({"m.yaml": MAP.format(name="hotel", value=1)})
        fleet.gitrepo(clone.url)
        agent = joined(fleet, "edge", target.parent, f"https://127.0.0.1:{edge.port}")
        agent.process.start()
        fleet.all_ready(bundles=1)
        edge.becomes(portal="manager")
        fleet.until(
            lambda: tail(agent.process.log),
            lambda text: (
                "another server answers instead of the manager (HTTP 200, text/html)" in text
            ),
        )
        clone.push({"m.yaml": MAP.format(name="hotel", value=2)})
        fleet.until(lambda: edge.pages, lambda n, before=edge.pages: n > before + 1, seconds=90)
        assert "'2'" not in target.read_text()
        edge.becomes()
        fleet.until(target.read_text, lambda text: "'2'" in text, seconds=90)
        fleet.all_ready(bundles=1)

    def test_an_archive_over_a_link_that_breaks_every_few_kilobytes(
        self, clone: Clone, fleet: Fleet, edge: EdgeProxy, tmp_path: Path
    ) -> None:
        """It is fetched in pieces, each byte about once."""
        size = 120_000
        agent = joined(fleet, "edge", tmp_path / "manifests", f"https://127.0.0.1:{edge.port}")
        edge.becomes(cut_after=24_000)
        clone.push({"m.yaml": noise(size)})
        fleet.gitrepo(clone.url)
        agent.process.start()
        fleet.until(
            (tmp_path / "manifests" / "default--apps.yaml").exists, lambda there: there, seconds=150
        )
        assert edge.down < 3 * size, f"{edge.down} bytes for an archive of {size}"
        fleet.all_ready(bundles=1, seconds=90)

    @pytest.mark.full
    def test_at_8_kbit_a_second(
        self, clone: Clone, fleet: Fleet, edge: EdgeProxy, tmp_path: Path
    ) -> None:
        """1 kB/s each way, TLS included: a bundle of 24 kB arrives, and so does the report."""
        agent = joined(fleet, "edge", tmp_path / "manifests", f"https://127.0.0.1:{edge.port}")
        edge.becomes(rate=1000)
        clone.push({"m.yaml": noise(20_000)})
        fleet.gitrepo(clone.url)
        agent.process.start()
        fleet.all_ready(bundles=1, seconds=240)

    def test_reports_wait_for_a_manager_that_is_away_and_arrive_once(
        self, clone: Clone, fleet: Fleet, edge: EdgeProxy, tmp_path: Path
    ) -> None:
        """Both are started again meanwhile; what is told is what is, and then nothing more is
        said.
        """
        target = tmp_path / "manifests" / "default--apps.yaml"
        clone.push({"m.yaml": MAP.format(name="away", value=1)})
        fleet.gitrepo(clone.url)
        agent = joined(fleet, "edge", target.parent, f"https://127.0.0.1:{edge.port}")
        agent.process.start()
        fleet.all_ready(bundles=1)
        before = fleet.deployments()["edge.apps"]["status"]["reportedAt"]
        fleet.manager.process.kill()
        target.unlink()
        agent.process.kill()
        (agent.state_dir / "journal").unlink()
        agent.process.start()  # applies again what it has on its disk
        fleet.until(target.exists, lambda there: there)
        fleet.manager.start()
        found = fleet.until(
            lambda: fleet.deployments()["edge.apps"]["status"],
            lambda s: s["reportedAt"] > before and s["display"]["state"] == "Ready",
            seconds=90,
        )
        assert found["ready"]
        said: list[int] = []

        def quiet() -> list[int]:
            """The last counts of bytes, one a tenth of a second."""
            said.append(edge.up)
            return said[-30:]

        fleet.until(quiet, lambda last: len(last) == 30 and len(set(last)) == 1)


class Namespaces:
    """Two network namespaces: agents in one, and between it and the manager a NAT with loss and a
    slow line.

    agents 10.98.1.2 --- 10.98.1.1 NAT 10.98.2.2 --- 10.98.2.1 manager
    """

    def __init__(self) -> None:
        mark = f"{os.getpid() % 100_000}"
        self.inside, self._nat, self._link = f"fa{mark}", f"fn{mark}", f"fv{mark}"

    def start(self) -> None:
        inside, nat, link = self.inside, self._nat, self._link
        for space in (inside, nat):
            self._do(f"ip netns add {space}")
            self._do(f"ip -n {space} link set lo up")
        self._do(f"ip link add {link}o type veth peer name outer netns {nat}")
        self._do(f"ip link add inner netns {nat} type veth peer name eth0 netns {inside}")
        for where, name, address in (
            ("", f"{link}o", "10.98.2.1"),
            (nat, "outer", "10.98.2.2"),
            (nat, "inner", "10.98.1.1"),
            (inside, "eth0", "10.98.1.2"),
        ):
            at = f"-n {where} " if where else ""
            self._do(f"ip {at}addr add {address}/24 dev {name}")
            self._do(f"ip {at}link set {name} up")
        self._do(f"ip -n {inside} route add default via 10.98.1.1")
        self._do(f"ip netns exec {nat} sysctl -qw net.ipv4.ip_forward=1")
        self._nft(
            "table ip nat { chain post { type nat hook postrouting priority 100; oifname outer"
            " masquerade\n}\n}"
        )

    def is_bad(self) -> None:
        """From now on 20 % of all packets are lost and the line carries 8 kbit/s each way."""
        self._nft(
            "table ip loss { chain passing { type filter hook forward priority 0; numgen random mod"
            " 100 < 20 drop\n}\n}"
        )
        for name in ("inner", "outer"):
            self._do(
                f"tc -n {self._nat} qdisc add dev {name} root tbf rate 8kbit burst 1600 limit 16000"
            )

    def is_good(self) -> None:
        self._do(f"ip netns exec {self._nat} nft delete table ip loss")
        for name in ("inner", "outer"):
            self._do(f"tc -n {self._nat} qdisc del dev {name} root")

    def stop(self) -> None:
        for words in (
            f"ip netns del {self.inside}",
            f"ip netns del {self._nat}",
            f"ip link del {self._link}o",
        ):
            subprocess.run(words.split(), capture_output=True, check=False)

    def _nft(self, rules: str) -> None:
        self._do(f"ip netns exec {self._nat} nft -f -", rules)

    def _do(self, words: str, stdin: str = "") -> None:
        done = subprocess.run(
            words.split(), input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.fail(f"{words}: {done.stderr.strip()}", pytrace=False)


@pytest.fixture
def spaces() -> Iterator[Namespaces]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip(
            "network namespaces need Linux and root; the same impairments without packets are"
            " tested above"
        )
    missing = [tool for tool in ("ip", "tc", "nft") if shutil.which(tool) is None]
    if missing:
        pytest.fail(
            f"install {', '.join(missing)} (apt-get install iproute2 nftables)", pytrace=False
        )
    made = Namespaces()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.full
def test_two_clusters_behind_one_nat_with_loss_and_8_kbit(
    clone: Clone, tool_env: dict[str, str], tmp_path: Path, spaces: Namespaces
) -> None:
    """One address for both is no twin; a commit reaches both through a line that loses every fifth
    packet.
    """
    port = free_port()
    listen = ("--listen", f"0.0.0.0:{port}", "--public-url", f"https://10.98.2.1:{port}")
    fleet = Fleet(tmp_path / "fleet", tool_env, *listen, port=port)
    try:
        clone.push({"m.yaml": MAP.format(name="nat", value=1)})
        fleet.gitrepo(clone.url)
        prefix = ("ip", "netns", "exec", spaces.inside)
        for name in ("paris", "lyon"):
            joined(
                fleet, name, tmp_path / name, f"https://10.98.2.1:{port}", prefix
            ).process.start()
        fleet.all_ready(bundles=2)
        items = fleet.call("GET", "objects/clusters")["items"]
        assert {i["status"]["agent"]["address"] for i in items} == {"10.98.2.2"}
        spaces.is_bad()
        clone.push({"m.yaml": MAP.format(name="nat", value=2)})
        for name in ("paris", "lyon"):
            fleet.until(
                (tmp_path / name / "default--apps.yaml").read_text,
                lambda text: "'2'" in text,
                seconds=300,
            )
        fleet.all_ready(bundles=2, seconds=240)
        spaces.is_good()
        commit = clone.push({"m.yaml": MAP.format(name="nat", value=3)})
        fleet.all_ready(commit, bundles=2, seconds=120)
        assert not [
            i
            for i in fleet.call("GET", "objects/clusters")["items"]
            if "Duplicate" in str(i["status"]["display"])
        ]
    finally:
        fleet.stop()
