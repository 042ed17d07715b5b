# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the audit's judgement takes for a large fleet, by its parts, and how much memory.

    tests/tools/with-env python tests/benchmark/audit.py [keys]

The facts of the hosts are made up (tests/lib/report_data.py), as is the vault, which is in memory. Weak keys are looked
for by size in the first run. The second figure is the library badkeys over a sample of real RSA and EC keys.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".build" / "collections"), str(ROOT / "tests" / "lib")]

import gathered_facts as made
import report_data
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import gathered, judge, outcome, weak_keys
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import Moment, VaultSeen
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import load
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.metrics import metrics
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.page import page
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.sarif import sarif

_HOSTS, _SAMPLE = 500, 500


def _memory() -> float:
    """MB at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def tell(self, what: str) -> None:
        now = time.perf_counter()
        print(f"  {what:44} {now - self._last:7.2f} s   {_memory():6.0f} MB at most so far")
        self._last = time.perf_counter()


def main(keys: int) -> None:
    fleet = report_data.gathered_fleet(_HOSTS, keys)
    print(f"judging {keys} keys on {_HOSTS} hosts (the facts themselves take {_memory():.0f} MB)")
    clock = _Clock()
    hosts = gathered.hosts(fleet, {})
    clock.tell("reading what the hosts sent")
    wanted = judge.Wanted(
        load.load("nist-sp800-57"), Moment(made.NOW, made.datetime.timedelta(days=30)), weak_keys="off"
    )
    judgement = judge.judge(hosts, VaultSeen(), wanted)
    clock.tell(f"judging: {len(judgement.findings)} findings")
    built = outcome.build(hosts, VaultSeen(), wanted, judgement, [])
    clock.tell("the outcome")
    size = len(page(built, [], "benchmark"))
    clock.tell(f"the page ({size / 1e6:.1f} MB, with the first rows)")
    sarif(built)
    metrics(built)
    clock.tell("SARIF and metrics")
    _weak(keys)


def _weak(keys: int) -> None:
    """badkeys over a sample; RSA moduli that are merely odd numbers take as long as real ones."""
    sample: dict = {}
    for number in range(_SAMPLE):
        modulus = (1 << 2047) + 2 * number + 1
        numbers = rsa.RSAPublicNumbers(65537, modulus).public_key()
        sample[f"r{number}"] = (
            "rsa-2048",
            made.pem(type("Key", (), {"public_key": staticmethod(lambda n=numbers: n)})),
        )
    start = time.perf_counter()
    weak_keys.look(sample, "auto")
    each = (time.perf_counter() - start) / _SAMPLE
    print(f"  badkeys: {each * 1000:.2f} ms for an RSA-2048 key, so {each * keys:.0f} s for {keys}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
