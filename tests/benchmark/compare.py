# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This collection beside a loop over a module for one key, on the same three SSH hosts in the same run.

    python tests/benchmark/compare.py [--whole]

The sides take turns, in every other round in the other order. Each of our plays has a ping play right before it, and is
compared with that one: so what else the machine does at that time hits both. The table shows seconds of whole plays,
the median of the ratios to the ping play, and the ratio of the loop's median to ours. Fails when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import archive
from measure import HOSTS, LOOP, OURS, PLAYS, Side, fresh_folder, on_host, play
from table import HEAD, Row

ROUNDS = 5
#: Seconds for the loop over 200 keys, which takes minutes; longer with --whole.
PATIENCE = 30.0
MOST_TO_PING, LEAST_TO_LOOP = 1.5, 8.0
FIRST, AGAIN = "first run", "re-run"


@dataclass(frozen=True)
class Task:
    """Keys to make, in a new folder per round and side: first run and re-run."""

    name: str
    count: int
    ours: dict
    loop: dict | None = None
    rounds: int = ROUNDS
    loop_rounds: int = ROUNDS
    patience: float | None = None
    playbook: str = "private_key.yml"
    variables: dict = field(default_factory=dict)

    def keys(self, side: Side, folder: str) -> list[dict]:
        """The option ``keys``, or the items of the loop."""
        options = (self.ours if side is OURS else self.loop) or {}
        return [{"key": f"{folder}/{number}.key", **options} for number in range(self.count)]


def tasks(whole: bool) -> list[Task]:
    """What keys are made."""
    ec = {"usage": "key_agreement", "algorithm": "ec-p256"}
    signing = {"usage": "signature", "algorithm": "ec-p256"}
    rsa = {"usage": "key_transport", "algorithm": "rsa-3072"}
    # The peer does not look at an EC key's size or an RSA key's curve: so no filter has to leave options out.
    loop_ec = {"type": "ECC", "curve": "secp256r1", "size": 3072}
    loop_rsa = {**loop_ec, "type": "RSA"}
    return [
        Task("20 EC P-256", 20, ec, loop_ec, rounds=7, loop_rounds=7),
        Task(
            "20 EC P-256, with signing register",
            20,
            signing,
            playbook="private_key_registered.yml",
            variables={"bench_vault": archive.VAULT},
        ),
        Task("200 EC P-256", 200, ec, loop_ec, loop_rounds=1, patience=None if whole else PATIENCE),
        Task("8 RSA-3072", 8, rsa, loop_rsa, loop_rounds=ROUNDS if whole else 2),
    ]


class Comparison:
    """All rows, in the order of the table."""

    def __init__(self, base: str) -> None:
        self.base, self.rows, self.ping = base, {}, Row("ping")
        for side in (OURS, LOOP):  # opens the connections, compiles what is not compiled yet
            play(side, str(PLAYS / "ping.yml"))

    def row(self, name: str, keys: int = 0) -> Row:
        """The row of that name, made at its first use."""
        return self.rows.setdefault(name, Row(name, keys))

    def beside_ping(self, row: Row, playbook: Path, variables: dict, changed: bool) -> None:
        """Measure a ping play, then a play of ours."""
        ping = play(OURS, str(PLAYS / "ping.yml"), changed=False).seconds
        seconds = play(OURS, str(playbook), variables, changed).seconds
        self.ping.seconds.append(ping)
        row.seconds.append(seconds)
        row.to_ping.append(seconds / ping)

    def make_keys(self, task: Task, side: Side, turn: int) -> str:
        """First run and re-run of one side; returns the folder."""
        folder = f"{self.base}/{task.name.replace(' ', '-').replace(',', '')}-{side.name}-{turn}"
        for host in HOSTS:
            on_host(host, f"mkdir -p -m 700 {folder}")
        variables = {"bench_keys": task.keys(side, folder), **task.variables}
        for again in (False, True):
            row = self.row(f"{task.name}, {side.name}, {AGAIN if again else FIRST}", task.count)
            if side is OURS:
                self.beside_ping(row, PLAYS / task.playbook, variables, not again)
                row.loop = (
                    self.row(f"{task.name}, {LOOP.name}, {AGAIN if again else FIRST}", task.count)
                    if task.loop
                    else None
                )
                continue
            played = play(LOOP, str(PLAYS / "loop.yml"), variables, not again, task.patience)
            row.seconds.append(played.seconds)
            row.stopped = not played.ended
            if row.stopped:
                time.sleep(2)  # what runs on the hosts ends
                break
        return folder

    def archive_keys(self, folder: str, groups: list[dict]) -> None:
        """Archive the keys of a folder, first run and re-run; then host1 loses and recovers its own."""
        places = [f"{folder}/{number}.key" for number in range(20)]
        variables = {
            "bench_keys": [{"key": key} for key in places],
            "bench_vault": archive.VAULT,
            "bench_groups": groups,
        }
        for again in (False, True):
            row = self.row(f"archive 20 EC P-256, {AGAIN if again else FIRST}", 20)
            self.beside_ping(row, PLAYS / "archive.yml", variables, not again)
        for step, seconds in archive.recover(HOSTS[0], self.base, places).items():
            self.row(f"recovery of 20 keys of one host: {step}", 20).seconds.append(seconds)


def measure(whole: bool) -> Comparison:
    """Everything, round by round."""
    base = f"{on_host(HOSTS[0], 'pwd')}/bench-{int(time.time())}"
    for host in HOSTS:
        on_host(host, f"mkdir -m 700 {base}")
    groups = archive.enrol()
    archive.install_library()
    archive.make_requester(base)
    comparison = Comparison(base)
    for turn in range(max(task.rounds for task in tasks(whole))):
        print(f"round {turn + 1}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
        for task in tasks(whole):
            for side in (OURS, LOOP) if turn % 2 == 0 else (LOOP, OURS):
                if turn >= (task.rounds if side is OURS else task.loop_rounds if task.loop else 0):
                    continue
                folder = comparison.make_keys(task, side, turn)
                if side is OURS and turn < ROUNDS and task.name == "20 EC P-256":
                    comparison.archive_keys(folder, groups)
    return comparison


def versions() -> str:
    """The machine and what was compared."""
    manifest = next(
        LOOP.programs.parent.glob("lib/python*/site-packages/ansible_collections/community/crypto/MANIFEST.json")
    )
    community = json.loads(manifest.read_text())["collection_info"]["version"]
    show = (
        "import sys, cryptography; print(f'Python {sys.version.split()[0]}, cryptography {cryptography.__version__}')"
    )
    here = subprocess.run(
        [OURS.programs / "python", "-c", show], capture_output=True, text=True, check=True
    ).stdout.strip()
    there = on_host(HOSTS[0], f'/usr/bin/python3 -c "{show}"')
    return (
        f"{len(HOSTS)} SSH hosts on this machine with {len(os.sched_getaffinity(0))} cores; ansible-core "
        f"{OURS.version()} (ours) and {LOOP.version()} (loop), community.crypto {community}\n"
        f"controller: {here}; hosts: {there}"
    )


def targets(rows: dict[str, Row]) -> list[tuple[bool, str]]:
    """What must be shown, and whether it was."""
    found = []
    for run in (FIRST, AGAIN):
        row = rows[f"20 EC P-256, ours, {run}"]
        ping, faster = row.pinged(), row.faster()
        found.append(
            (ping <= MOST_TO_PING, f"20 EC keys, {run}: {ping:.2f} x the ping play (target: at most {MOST_TO_PING})")
        )
        found.append(
            (
                faster >= LEAST_TO_LOOP,
                f"20 EC keys, {run}: {faster:.1f} x faster than the loop (target: {LEAST_TO_LOOP:.0f})",
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--whole", action="store_true", help="let the loop over 200 keys end, which takes minutes more")
    arguments = parser.parse_args()
    fresh_folder()
    before, start = os.getloadavg()[0], time.monotonic()
    comparison = measure(arguments.whole)
    print(
        f"\n{versions()}\nload before {before:.1f}, after {os.getloadavg()[0]:.1f}; {time.monotonic() - start:.0f} s\n"
    )
    print(HEAD, comparison.ping, *(row for row in comparison.rows.values() if row.seconds), "", sep="\n")
    results = targets(comparison.rows)
    for met, text in results:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    sys.exit(0 if all(met for met, _text in results) else 1)


if __name__ == "__main__":
    main()
