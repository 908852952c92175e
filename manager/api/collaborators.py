"""The parts of the manager that the routes call."""

from __future__ import annotations

from dataclasses import dataclass

from ..agents.agent_releases import AgentReleases
from ..agents.agent_upgrades import AgentUpgrades
from ..agents.requests import AgentRequests
from ..commands.corrections import Corrector
from ..commands.gitrepos import GitRepoCommands
from ..commands.objects import ObjectCommands
from ..commands.removals import RemovalCommands
from ..commands.rollout_control import RolloutControl
from ..fleet_views import FleetViews
from ..plans.planner import Planner
from ..security.tokens import Tokens


@dataclass(frozen=True)
class Collaborators:
    """Each route module takes those that it uses."""

    views: FleetViews
    objects: ObjectCommands
    gitrepos: GitRepoCommands
    rollouts: RolloutControl
    corrections: Corrector
    removals: RemovalCommands
    plans: Planner
    releases: AgentReleases
    upgrades: AgentUpgrades
    tokens: Tokens
    agents: AgentRequests
