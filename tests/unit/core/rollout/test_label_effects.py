"""What a change of labels does to bundles: values in, effects out."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetctl.core.model.ids import BundleName, ClusterId, Digest, Generation
from fleetctl.core.model.plan import Have, Key, Want, decide
from fleetctl.core.rollout.impact import What
from fleetctl.core.rollout.label_effects import Effect, Source, effects_of

ARCHIVE = Digest("a" * 64)


@dataclass
class World:
    """What clusters have and what they would have, by (cluster, bundle)."""

    wanted: dict[Key, Want] = field(default_factory=dict)
    have: dict[Key, Have] = field(default_factory=dict)

    def want(
        self,
        cluster: str,
        bundle: str,
        *,
        options: str = "o",
        target: str = "",
        customization: str = "",
    ) -> None:
        digest = Digest(options)
        self.wanted[ClusterId(cluster), BundleName(bundle)] = Want(
            ARCHIVE, digest, options, 1, target, customization
        )

    def has(
        self,
        cluster: str,
        bundle: str,
        *,
        options: str = "o",
        target: str = "",
        generation: int = 1,
        removed: bool = False,
    ) -> None:
        had = Have(
            Generation(generation), ARCHIVE, Digest(options), options, target, removed=removed
        )
        self.have[ClusterId(cluster), BundleName(bundle)] = had

    def effects(self) -> list[Effect]:
        return effects_of(
            decide(self.wanted, self.have), self.have, lambda cluster: cluster.upper()
        )


def test_gained_lost_and_changed_bundles_each_have_an_effect() -> None:
    world = World()
    world.want("a", "new", target="prod", customization="big")
    world.has("a", "old", target="dev")
    world.has("a", "api", options="small", target="dev")
    world.want("a", "api", options="large", target="prod")
    world.has("a", "same", target="all")
    world.want("a", "same", target="all")
    api, new, old = world.effects()
    assert (api.what, api.old, api.new, api.why) == (
        What.CHANGED,
        Source("dev", ""),
        Source("prod", ""),
        ["options", "target"],
    )
    assert (new.what, new.old, new.new) == (What.ADDED, None, Source("prod", "big"))
    assert (old.what, old.old, old.new, old.clusters, old.names) == (
        What.REMOVED,
        Source("dev", ""),
        None,
        1,
        ["A"],
    )


def test_another_target_with_the_same_options_deploys_nothing() -> None:
    world = World()
    world.has("a", "web", target="dev")
    world.want("a", "web", target="prod")
    [effect] = world.effects()
    assert (effect.what, effect.why) == (What.TOLD, ["target"])


def test_clusters_with_the_same_change_share_an_effect_and_the_count_is_whole() -> None:
    world = World()
    for n in range(12):
        world.want(f"c{n:02d}", "web", target="prod")
    [effect] = world.effects()
    assert (effect.clusters, len(effect.names), effect.names[0]) == (12, 5, "C00")


def test_a_removed_deployment_that_comes_back_is_gained_and_one_that_never_was_is_not_lost() -> (
    None
):
    world = World()
    world.has("a", "back", removed=True)
    world.want("a", "back", target="prod")
    world.has("a", "staged", generation=0)
    [effect] = world.effects()
    assert (effect.bundle, effect.what, effect.old) == ("back", What.ADDED, None)
