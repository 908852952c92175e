"""`make demo`: a manager, a Git repository and three clusters, from the first commit to Helm
releases, drift and a second commit.

Environment: QUICK=1 writes manifests into folders instead of clusters; KUBECONFIGS=a,b,c takes your
own clusters; KEEP=1 leaves all of it running and writes `.demo/demo.json` (`make demo-stop` ends
it). Safe to interrupt and to run again.
"""

from __future__ import annotations

import os
import sys
import time

from rich.console import Console

from examples.demo.stop import DEMO, running, stop
from examples.demo.story import Story


def main() -> int:
    console = Console(highlight=False)
    quick = os.environ.get("QUICK", "") not in {"", "0"}
    keep = os.environ.get("KEEP", "") not in {"", "0"}
    own = [path for path in os.environ.get("KUBECONFIGS", "").split(",") if path]
    if own and len(own) != 3:
        console.print("KUBECONFIGS names three files: for dev, test and prod", style="red")
        return 2
    if (DEMO / "demo.json").exists() and running(DEMO):
        console.print(
            "A demo that was kept is running in .demo. End it with `make demo-stop`, then run this"
            " again.",
            style="red",
        )
        return 3
    stop(DEMO)
    began = time.monotonic()
    story = Story(console, quick=quick, own=own)
    finished = False
    try:
        story.tell()
        finished = True
        console.print(f"\n[bold green]Done[/] in {time.monotonic() - began:.0f} s.")
        if keep:
            story.keep()
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything is stopped.")
        return 130
    except RuntimeError as error:
        console.print(f"\n{error}", style="red", markup=False)
        return 1
    finally:
        if not (finished and keep):
            story.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
