"""The player: writes the status that controllers and a kubelet would, so that Deployments become
ready.

Nothing runs. There is no node, no Pod and no container behind what it writes: it watches
Deployments, StatefulSets, DaemonSets and Jobs and writes their status as if all had gone well
(statuses.py says how to ask for another ending). It is for demos and tests of what *waits* for
readiness; where real Pods matter, start LocalKube with ``controllers=True``. It plays no garbage
collector and empties no namespace.

Rule: level-triggered. It lists, then watches; whatever breaks, it lists again, after a growing
pause.

    python3 -m tests.localkube.status_player KUBECONFIG...
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.localkube.apiclient import MERGE_PATCH, Api, ApiError
from tests.localkube.statuses import KINDS, Json, patch_for, path_of
from tests.localkube.toolchain.cache import say

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Player:
    """Plays for the clusters of some kubeconfigs, one thread for each cluster and kind. A context
    manager.
    """

    def __init__(self, kubeconfigs: Sequence[Path]) -> None:
        self._stop = threading.Event()
        self._parts = [_Part(path, kind, self._stop) for path in kubeconfigs for kind in KINDS]

    def start(self) -> Player:
        """Start the threads; returns at once."""
        for part in self._parts:
            part.thread.start()
        return self

    def stop(self) -> None:
        """End the threads; returns when they have ended or after 5 s."""
        self._stop.set()
        for part in self._parts:
            part.interrupt()
        for part in self._parts:
            part.thread.join(5)

    def __enter__(self) -> Player:
        return self.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop()


class _Part:
    """One kind in one cluster."""

    def __init__(self, kubeconfig: Path, kind: str, stop: threading.Event) -> None:
        self._kind, self._stop, self._kubeconfig = kind, stop, kubeconfig
        # Two connections: a watch occupies the first for as long as it lasts.
        self._watching, self._writing = Api(kubeconfig), Api(kubeconfig)
        self.thread = threading.Thread(target=self._run, name=f"player-{kind}", daemon=True)

    def interrupt(self) -> None:
        """Break the calls that are under way."""
        self._watching.interrupt()
        self._writing.interrupt()

    def _run(self) -> None:
        with contextlib.closing(self._watching), contextlib.closing(self._writing):
            self._play_on()

    def _play_on(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                since = self._list()
                pause = FIRST_PAUSE
                self._follow(since)
                # A server that ends every watch at once must not be asked without end.
                self._stop.wait(FIRST_PAUSE)
            except ApiError as error:
                if self._stop.is_set():
                    return
                if pause >= LONGEST_PAUSE:
                    say(f"player: {self._kubeconfig}: {error}")
                self._stop.wait(random.uniform(pause / 2, pause))
                pause = min(pause * 2, LONGEST_PAUSE)

    def _list(self) -> str:
        answer = self._watching.get(KINDS[self._kind] % "")
        for item in answer.get("items", []):
            self._play(item)
        return str(answer["metadata"]["resourceVersion"])

    def _follow(self, since: str) -> None:
        for event in self._watching.watch(KINDS[self._kind] % "", since):
            if event["type"] == "ERROR":
                raise ApiError(
                    int(event["object"].get("code", 0)), str(event["object"].get("message"))
                )
            if event["type"] in {"ADDED", "MODIFIED"}:
                self._play(event["object"])

    def _play(self, item: Json) -> None:
        meta = item["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        patch = None if "deletionTimestamp" in meta else patch_for(self._kind, item, now)
        if patch is None:
            return
        try:
            self._writing.call("PATCH", path_of(self._kind, item), {"status": patch}, MERGE_PATCH)
        except ApiError as error:
            if error.status == 404:
                return
            # A refusal of one object must not keep the others from being played.
            say(f"player: {self._kind} {meta['namespace']}/{meta['name']}: {error}")
            if error.status == 0:
                raise
        else:
            where = (
                f"{self._kubeconfig.parent.name}: {self._kind} {meta['namespace']}/{meta['name']}"
            )
            say(f"player: {where}: status written")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play for the given kubeconfigs until SIGTERM or Ctrl-C."""
    paths = [Path(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    if not paths or str(paths[0]).startswith("-"):
        say("usage: python3 -m tests.localkube.status_player KUBECONFIG...")
        return 2
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    say("player: writes the status that controllers and a kubelet would write; no container runs")
    with Player(paths):
        done.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
