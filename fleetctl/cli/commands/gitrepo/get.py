"""`fleetctl gitrepo get`: what is wrong with a repository."""

from __future__ import annotations

from fleetctl.cli.display import output as out
from fleetctl.cli.display import reasons_text
from fleetctl.cli.objects.list_request import Items
from fleetctl.cli.session import Session


def explain_gitrepos(_session: Session, repos: Items) -> None:
    for repo in repos:
        status = repo.get("status") or {}
        message = (status.get("display") or {}).get("message")
        problems = [
            problem for problem in [status.get("error"), *(status.get("problems") or [])] if problem
        ]
        if message and not problems and not status.get("reasons"):
            out.line(f"{repo['metadata']['name']}: {message}")
        for problem in problems:
            out.line(f"problem: {problem.get('summary', '')}")
            out.line(
                f"  {problem.get('nextStep') or problem.get('next_step') or 'Correct it and push.'}"
            )
        for warning in status.get("warnings") or []:
            out.line(f"warning: {warning.get('summary', '')}")
        reasons_text.show(repo)
        held_removal = status.get("held")
        if held_removal:
            name, commit = repo["metadata"]["name"], str(held_removal["commit"])
            bundles = ", ".join(held_removal["bundles"][:8])
            removals, total = held_removal["removals"], held_removal["of"]
            out.line(
                f"held: commit {commit[:12]} would remove {removals} of {total} bundles: {bundles}"
            )
            for move in held_removal.get("moves") or []:
                out.line(f"  {move['message']}: fleetctl bundle moved {move['from']} {move['to']}")
            out.line(
                f"  To confirm: fleetctl gitrepo confirm {name} --removals {removals}"
                f" --commit {commit[:12]}"
            )
