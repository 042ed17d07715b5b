# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leak hunt: the whole story over SSH, as talkative as Ansible can be, then a search for every secret in every place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from leak_hunt import story
from leak_hunt.fleet import Fleet
from leak_hunt.hunter import Haystack, Hit, search
from leak_hunt.watch import Capture, Sampler, Syslog
from leak_hunt.world import World


@dataclass
class Hunted:
    """The world after the story, and all hits of the search."""

    world: World
    hits: list[Hit] = field(default_factory=list)
    searched: list[tuple[str, int]] = field(default_factory=list)


@pytest.fixture(name="hunted", scope="module")
def _hunted() -> Iterator[Hunted]:
    with Fleet("leak", 2) as fleet:
        world = World(fleet)
        hunted = Hunted(world)
        with (
            Capture(fleet, world.base / "search/traffic.pcap") as capture,
            Sampler(fleet) as sampler,
            Syslog(fleet) as syslog,
        ):
            story.play(world)
            story.be_killed(world)

        def haystacks() -> Iterator[Haystack]:
            for source in (world, capture, sampler, syslog):
                for item in source.haystacks():
                    hunted.searched.append((item.place, len(item.data)))
                    yield item
            for host in fleet.hosts:
                for item in fleet.haystacks(host):
                    hunted.searched.append((item.place, len(item.data)))
                    yield item

        hunted.hits = search(haystacks(), world.secrets, world.base / "search")
        yield hunted


def _belongs(world: World, hit: Hit) -> bool:
    if hit.secret == "the option vault":
        return not hit.place.startswith(("host", "traffic", "temporary file host"))
    places = next((places for name, places in world.belongs.items() if hit.secret.startswith(name)), set())
    return hit.place in places


def test_nothing_leaked(hunted: Hunted) -> None:
    leaked = [hit for hit in hunted.hits if not _belongs(hunted.world, hit)]
    assert not leaked, "\n".join(f"{hit.place}: {hit.secret} ({hit.encoding}) after {hit.before!r}" for hit in leaked)
