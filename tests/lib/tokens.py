# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real PKCS#11 tokens in a folder, and the flows on them, each call in a process of its own as on a host.

A library reads its configuration once per process, from the environment.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
NSS = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"

_CHILD = """
import importlib, json, sys
asked = json.load(sys.stdin)
base = "ansible_collections.keyops.lifecycle.plugins.module_utils."
module = importlib.import_module(base + asked["module"])
errors = importlib.import_module(base + "_errors")
tasks = importlib.import_module(base + "_module")
try:
    done = module.run(tasks.HostTask(asked["params"], asked["check"]))
    answer = {"changed": done.changed, "results": done.results, "diff": done.diff}
except errors.KeyopsError as error:
    answer = {"error_class": type(error).__name__, "msg": str(error)}
print(json.dumps(answer))
"""


@dataclass
class Store:
    """A folder with the tokens of one library.

    Attributes:
        library: path of the PKCS#11 library.
        environment: what the library wants to find in the environment.
    """

    folder: Path
    library: str
    environment: dict[str, str]
    pins: dict[str, str] = field(default_factory=dict)

    def uri(self, token: str = "", **parts: str) -> str:
        """The URI of a token of this library."""
        named = {"token": token, **parts} if token else parts
        path = ";".join(f"{name}={value}" for name, value in named.items())
        return f"pkcs11:{path}?module-path={self.library}"

    def call(self, flow: str, check: bool = False, **params: object) -> dict:
        """What the flow returns, or its error's class and message."""
        asked = {"module": f"_flow.{flow}", "params": params, "check": check}
        done = self.run([sys.executable, "-c", _CHILD], json.dumps(asked))
        assert done.returncode == 0, done.stderr
        answer: dict = json.loads(done.stdout)
        return answer

    def run(self, command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command with the library's environment."""
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, **self.environment, "PYTHONPATH": paths}
        return subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, timeout=120, check=False
        )


def softhsm(folder: Path) -> Store:
    """SoftHSM without a token."""
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    return Store(folder, SOFTHSM, {"SOFTHSM2_CONF": str(configuration)})


def nss(folder: Path) -> Store:
    """NSS's database, which is its token, with a user PIN."""
    folder.mkdir(parents=True)
    pin = secrets.token_hex(8)
    (folder / "pin").write_text(pin + "\n")
    subprocess.run(["certutil", "-N", "-d", f"sql:{folder}", "-f", folder / "pin"], check=True, capture_output=True)
    parameters = f"configdir='sql:{folder}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
    return Store(folder, NSS, {"NSS_LIB_PARAMS": parameters}, {"pin": pin})


def new_pins() -> dict[str, str]:
    """A user PIN and a security officer's."""
    return {"pin": secrets.token_hex(4), "so_pin": secrets.token_hex(6)}
