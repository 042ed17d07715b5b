# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on a SoftHSM token beside a bare python-pkcs11 loop, in one run.

1. 100 P-256 keys in one task, as a module runs it: a new Python, which loads everything. Beside it a new Python that
   makes 100 pairs in a bare loop, without attributes, IDs or a second look. Target: 1.2 times that, and one start.
2. The same task again over 1000 objects, beside one pass over them: every object, its label and its ID. Target: twice
   that, measured inside the process from the login on; the start of a process is printed beside it.

    python tests/benchmark/tokens.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / ".build" / "collections"), str(CHECKOUT / "tests" / "lib")]

import token_host

KEYS, OBJECTS = 100, 1000
TARGET_MADE, TARGET_AGAIN = 1.2, 2.0

_BARE = """
import json, sys, time
import pkcs11
from pkcs11 import Attribute
asked = json.load(sys.stdin)
token = pkcs11.lib(asked["library"]).get_token(token_label="ops")
curve = {Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}
with token.open(rw=True, user_pin=asked["pin"]) as session:
    begin = time.perf_counter()
    if asked["labels"]:
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        for number, label in enumerate(asked["labels"]):
            parameters.generate_keypair(store=True, label=label, id=b"%d" % number)
        count = len(asked["labels"])
    else:
        count = len([(one[Attribute.LABEL], one[Attribute.ID]) for one in session.get_objects()])
    print(json.dumps({"count": count, "seconds": time.perf_counter() - begin}))
"""

_TASK = """
import json, sys, time
from ansible_collections.keyops.lifecycle.plugins.module_utils import _module
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import provision_anywhere
asked = json.load(sys.stdin)
begin = time.perf_counter()
done = provision_anywhere.run(_module.HostTask(asked["params"]))
print(json.dumps({"changed": done.changed, "seconds": time.perf_counter() - begin}))
"""

_START = _TASK.split("asked =", maxsplit=1)[0] + "print(json.dumps({}))"


def timed(host: token_host.TokenHost, code: str, **asked: object) -> tuple[float, dict]:
    """Seconds of the whole process, and what it printed."""
    begin = time.perf_counter()
    answer = host.store.python(code, **asked)
    return time.perf_counter() - begin, answer


def bare(host: token_host.TokenHost, labels: list[str]) -> tuple[float, dict]:
    return timed(host, _BARE, library=host.store.library, pin=host.pin, labels=labels)


def made(folder: Path) -> tuple[float, float, float]:
    """Seconds of the task, of the bare loop, and of a start that does nothing."""
    host = token_host.softhsm(folder)
    labels = [f"bench-{number}" for number in range(KEYS)]
    params = host.params(*(host.key(label) for label in labels))
    ours, answer = timed(host, _TASK, params=params)
    assert answer["changed"]
    theirs, answer = bare(host, [f"bare-{number}" for number in range(KEYS)])
    assert answer["count"] == KEYS
    return ours, theirs, timed(host, _START)[0]


def again(host: token_host.TokenHost) -> tuple[float, float, float]:
    """Seconds of the task inside its process, of the whole of it, and of one bare pass."""
    params = host.params(*(host.key(f"bench-{number}") for number in range(KEYS)))
    whole, answer = timed(host, _TASK, params=params)
    assert not answer["changed"]
    dummy, one_pass = bare(host, [])
    assert one_pass["count"] == OBJECTS
    return answer["seconds"], whole, one_pass["seconds"]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(dir=CHECKOUT / ".build") as name:
        folder = Path(name)
        runs = [made(folder / f"made-{number}") for number in range(rounds)]
        ours, theirs, start = (statistics.median(column) for column in zip(*runs))
        ratio = statistics.median((one - begin) / other for one, other, begin in runs)
        print(f"{KEYS} P-256 keys: {ours:.2f} s, bare loop {theirs:.2f} s, start {start:.2f} s; ", end="")
        print(f"without the start {ratio:.2f} x the loop (target {TARGET_MADE})")
        host = token_host.softhsm(folder / "again")
        host.run(*(host.key(f"bench-{number}") for number in range(OBJECTS // 2)))
        looks = [again(host) for dummy in range(rounds)]
        inside, whole, one_pass = (statistics.median(column) for column in zip(*looks))
        second = statistics.median(one / other for one, dummy, other in looks)
        print(f"again over {OBJECTS} objects: {inside * 1e3:.0f} ms, one pass {one_pass * 1e3:.0f} ms, ", end="")
        print(f"{second:.2f} x (target {TARGET_AGAIN}); with the start of the process {whole:.2f} s")
    return int(ratio > TARGET_MADE or second > TARGET_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
