"""Work that strangers and holders of small rights can cause: linear in the body, off the event
loop, counted per caller.
"""

from __future__ import annotations

import asyncio
import time

import httpx
import msgspec
import pytest

from fleetctl.core.model import wire
from fleetctl.core.model.errors import FleetError, TooBusy, UsageError
from fleetctl.core.rollout.impact import Plan
from manager.api import agent_auth, auth, request_parsing
from manager.api.routes.agents import MAX_ENROL_BYTES
from manager.api.routes.status_page import MAX_LOGIN_BYTES
from manager.api.server.workers import ServerWorker
from manager.plans import planner
from tests.support.manager.api_client import ADMIN, READER, Bench, run

STATUS, PLAN = "/agent/v1/status", "/api/v1/plan"
JSON = {"content-type": "application/json"}


def duplicate_at_the_end(size: int) -> bytes:
    """An object of about `size` bytes whose last key is the only duplicate."""
    width = max(5, size * 4 // request_parsing.MAX_VALUES // 3)
    keys = [f'"{n:0{width}x}":0' for n in range(size // (width + 5))]
    return ("{" + ",".join([*keys, keys[-1]]) + "}").encode()


def many_lists(size: int) -> bytes:
    return b"[" + b",".join([b"[[]]"] * (size // 8)) + b" " * (3 * size // 8) + b"]"


def long_numbers(size: int) -> bytes:
    return b"[" + b",".join([b"9" * 4000] * (size // 4001)) + b"]"


def escapes(size: int) -> bytes:
    return b'"' + b"\\u00e9" * (size // 6) + b'"'


def long_fraction(size: int) -> bytes:
    return b"0." + b"1" * size


def cost(data: bytes) -> float:
    """CPU seconds, the least of three."""
    costs = []
    for _ in range(3):
        began = time.process_time()
        try:
            request_parsing.plain_json(data)
        except FleetError:
            pass
        costs.append(time.process_time() - began)
    return min(costs)


def longest_numbers(size: int) -> bytes:
    return b"[" + b",".join([b"1" * 300 + b".5"] * (size // 303)) + b"]"


@pytest.mark.parametrize(
    "made",
    [duplicate_at_the_end, many_lists, long_numbers, longest_numbers, escapes, long_fraction],
)
def test_parsing_is_linear(made):
    """Twice the bytes cost about twice the time, also at the limit of a report."""
    once, twice = cost(made(wire.MAX_STATUS_BYTES // 2)), cost(made(wire.MAX_STATUS_BYTES))
    assert twice < 4 * once + 0.1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("1" + "0" * 300, 1e300),
        ("0." + "0" * 400 + "1", 0.0),
    ],
)
def test_numbers_are_read_as_kubernetes_reads_them(text, value):
    """A whole number beyond 64 bits is a float, one below float64 is 0."""
    parse_body = request_parsing.plain_json(text.encode())
    assert (type(parse_body), parse_body) == (type(value), value)


@pytest.mark.parametrize(
    "text", ["1" + "0" * 400, "-" + "9" * 4300, "1e400", "-1e999999999", "9" * 5000]
)
def test_a_number_beyond_float64_is_refused(text):
    for body in (text, f'{{"a": [{text}]}}', f'{{"a": {text}, "b": 1}}'):
        with pytest.raises(UsageError, match="a number"):
            request_parsing.plain_json(body.encode())


def test_a_long_list_of_long_numbers_is_parsed_soon():
    """8 MiB of whole numbers of 4,300 digits took 2.2 s of the interpreter lock."""
    with pytest.raises(UsageError, match="more than 1100 characters"):
        request_parsing.plain_json(b"[" + b",".join([b"9" * 4300] * 1900) + b"]")


def test_a_body_of_very_many_values_is_refused_before_it_is_parsed():
    with pytest.raises(UsageError, match="more than 300000 values"):
        request_parsing.plain_json(b"[" + b"0," * 300_000 + b"0]")


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/agent/v1/enrol", MAX_ENROL_BYTES),
        ("/login", MAX_LOGIN_BYTES),
        (STATUS, wire.MAX_STATUS_BYTES),
        ("/api/v1/objects/gitrepos/team-a/shop", request_parsing.MAX_BODY),
        (PLAN, 8 * 1024 * 1024),
    ],
)
def test_the_event_loop_goes_on_while_the_largest_body_is_parsed(path, size):
    """The loop's longest pause stays far below what a quadratic parser took (16 s for 256 KiB)."""

    async def scene(bench: Bench) -> None:
        longest, last = 0.0, time.monotonic()

        async def beat() -> None:
            nonlocal longest, last
            while True:
                await asyncio.sleep(0.005)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()

        body = duplicate_at_the_end(size - 64)
        last = time.monotonic()
        heart = asyncio.create_task(beat())
        if path == STATUS:
            answer = await bench.signed("POST", path, body)
        else:
            answer = await bench.call(
                "PUT" if "objects" in path else "POST", path, content=body, headers=JSON
            )
        heart.cancel()
        assert answer.status_code == 400, answer.text
        assert "is a duplicate" in answer.json()["summary"]
        assert longest < 2.0

    run(scene)


@pytest.mark.parametrize(
    ("path", "size"), [("/agent/v1/enrol", MAX_ENROL_BYTES), ("/login", MAX_LOGIN_BYTES)]
)
def test_bodies_before_login_are_small(path, size):
    async def scene(bench: Bench) -> None:
        assert (
            await bench.client.post(path, content=b" " * (size + 1), headers=JSON)
        ).status_code == 413

    run(scene)


def test_a_worker_refuses_what_it_cannot_do_in_time():
    """The queue is bounded, and a caller does not wait for ever; what is done makes room again."""

    async def scene() -> None:
        worker, release = ServerWorker("test", threads=1, queued=1, seconds=0.05), asyncio.Event()
        loop = asyncio.get_running_loop()

        def block() -> None:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)

        first = [asyncio.create_task(worker.run(block)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy, match="too many"):
            await worker.run(block)
        for task in first:
            with pytest.raises(TooBusy, match="in time"):
                await task
        release.set()
        async with asyncio.timeout(5):
            while True:
                try:
                    assert await worker.run(lambda: 7) == 7
                    return
                except TooBusy:
                    await asyncio.sleep(0.01)

    asyncio.run(scene())


def test_others_failures_do_not_refuse_a_correct_token(monkeypatch: pytest.MonkeyPatch):
    """Malformed bodies and wrong tokens of one address end in 429; a correct enrolment and login
    from there go through.
    """
    monkeypatch.setattr("manager.api.routes.agents.STRANGER_FAILURES", 5)
    monkeypatch.setattr("manager.api.routes.status_page.STRANGER_FAILURES", 5)

    async def scene(bench: Bench) -> None:
        codes = [
            (await bench.client.post("/agent/v1/enrol", content=b"{")).status_code for _ in range(7)
        ]
        assert codes == [400] * 5 + [429, 429]
        codes = [
            (await bench.client.post("/login", json={"code": f"no-{n}"})).status_code
            for n in range(7)
        ]
        assert codes == [401] * 5 + [429, 429]
        bench.service.enrol_tokens.add("right")
        assert (
            await bench.client.post("/agent/v1/enrol", content=enrolment(bench, "right"))
        ).status_code == 200
        code = (await bench.call("POST", "/api/v1/ui-code", READER)).json()["code"]
        assert (await bench.client.post("/login", json={"code": code})).status_code == 204

    run(scene)


def test_a_wrong_token_is_refused_without_a_look_after_a_while():
    """The same token and key twenty times a minute: 429, with a time to come back; another key is
    not concerned.
    """

    async def scene(bench: Bench) -> None:
        wrong = enrolment(bench, "wrong")
        codes = [
            (await bench.client.post("/agent/v1/enrol", content=wrong)).status_code
            for _ in range(21)
        ]
        assert codes == [401] * 20 + [429]
        other = msgspec.json.encode({**msgspec.json.decode(wrong), "publicKey": "B" * 43})
        assert (await bench.client.post("/agent/v1/enrol", content=other)).status_code == 401

    run(scene)


def enrolment(bench: Bench, token: str) -> bytes:
    public = wire.b64(bench.key.public_key().public_bytes_raw())
    proof = wire.b64(bench.key.sign(wire.enrol_bytes(token, public)))
    return msgspec.json.encode(wire.EnrolRequest(token=token, public_key=public, proof=proof))


def test_a_reader_pushes_out_only_its_own_sessions():
    sessions = auth.Sessions()
    admin = sessions.redeem(sessions.code(ADMIN))
    cookies = [sessions.redeem(sessions.code(READER)) for _ in range(1500)]
    assert sessions.token(admin) == ADMIN
    assert sessions.token(cookies[-1]) == READER
    assert sessions.token(cookies[0]) is None


class Clocks:
    """A wall clock that somebody sets, and a monotonic one that nobody can."""

    def __init__(self) -> None:
        self.wall, self.uptime = 1_800_000_000.0, 5.0

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds


@pytest.mark.parametrize("jump", [400 * 86400.0, -400 * 86400.0])
def test_a_wall_clock_that_is_set_locks_no_agent_out(jump):
    """The requests of an agent that follows the manager's time are accepted after each jump, and
    never twice.
    """

    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        gate = agent_auth.Signatures(
            bench.service.collaborators.agents,
            bench.service.signer,
            lambda: clocks.wall,
            lambda: clocks.uptime,
        )
        bench.use(gate)
        for moved in (0.0, jump, -jump, 0.0):
            clocks.wall += moved
            clocks.pass_time(3)
            nonce = f"nonce-{clocks.uptime:.0f}-x"
            sign = {"now": int(clocks.wall), "nonce": nonce}
            assert (await bench.signed("GET", "/agent/v1/desired", sign=sign)).status_code == 200
            assert (await bench.signed("GET", "/agent/v1/desired", sign=sign)).status_code == 401

    run(scene)


def test_a_request_of_before_the_start_is_refused_with_the_managers_time():
    """Its nonce is forgotten, so it could be a replay; the agent signs again with the time that it
    is given.
    """

    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        bench.use(
            agent_auth.Signatures(
                bench.service.collaborators.agents,
                bench.service.signer,
                lambda: clocks.wall,
                lambda: clocks.uptime,
            )
        )
        clocks.pass_time(10)
        old = await bench.signed("GET", "/agent/v1/desired", sign={"now": int(clocks.wall) - 11})
        assert (old.status_code, old.json()["code"]) == (401, "wrong-clock")
        assert old.headers[wire.H_MANAGER_TIME] == str(int(clocks.wall))
        new = await bench.signed("GET", "/agent/v1/desired", sign={"now": int(clocks.wall) - 10})
        assert new.status_code == 200

    run(scene)


def test_buckets_and_sessions_use_the_monotonic_clock():
    """A minute without failures opens the bucket, an hour leaves the session and ends the code."""
    clocks = Clocks()
    bucket, sessions = auth.Bucket(2, lambda: clocks.uptime), auth.Sessions(lambda: clocks.uptime)
    cookie, code = sessions.redeem(sessions.code("t")), sessions.code("t")
    bucket.fail("a")
    bucket.fail("a")
    with pytest.raises(TooBusy) as busy:
        bucket.check("a")
    assert busy.value.retry_after == 60
    clocks.pass_time(3600)
    bucket.check("a")
    assert sessions.token(cookie) == "t"
    with pytest.raises(FleetError):
        sessions.redeem(code)


def test_plans_of_one_token_leave_room_for_another():
    """A reader that sends very many plans waits for itself; the bodies that wait are not read, and
    the queue is bounded.
    """

    async def scene(bench: Bench) -> None:
        release = asyncio.Event()
        running: list[str] = []

        async def plan(asked: planner.PlanQuery) -> Plan:
            running.append(asked.name)
            await release.wait()
            return Plan(workspace=asked.workspace, gitrepo=asked.name)

        bench.service.plan = plan  # type: ignore[method-assign]
        flood = [asyncio.create_task(send_plan(bench, READER, "flood")) for _ in range(40)]
        await asyncio.sleep(0.2)
        other = asyncio.create_task(send_plan(bench, ADMIN, "other"))
        async with asyncio.timeout(5):
            while "other" not in running:
                await asyncio.sleep(0.01)
        assert sorted(running) == ["flood", "flood", "other"]
        release.set()
        codes = sorted([(await task).status_code for task in flood])
        assert codes == [200] * 16 + [429] * 24
        assert (await other).status_code == 200

    run(scene)


async def send_plan(bench: Bench, token: str, name: str) -> httpx.Response:
    return await bench.call("POST", PLAN, token, json={"workspace": "team-a", "gitrepo": name})
