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
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
NSS = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"
OPENCRYPTOKI = "/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so"
TPM = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so"

_CHILD = """
import importlib, json, sys
asked = json.load(sys.stdin)
base = "ansible_collections.keyops.lifecycle.plugins.module_utils."
module = importlib.import_module(base + asked["module"])
errors = importlib.import_module(base + "_errors")
tasks = importlib.import_module(base + "_module")
try:
    done = module.run(tasks.HostTask(asked["params"], asked["check"], asked["step"], asked["relay"]))
    answer = {name: getattr(done, name) for name in ("changed", "results", "diff", "relay", "extra", "warnings")}
except errors.KeyopsError as error:
    answer = {"error_class": type(error).__name__, "msg": str(error)}
print(json.dumps(answer))
"""

_STEP = """
import importlib, json, sys
asked = json.load(sys.stdin)
base = "ansible_collections.keyops.lifecycle.plugins.module_utils."
errors = importlib.import_module(base + "_errors")
tasks = importlib.import_module(base + "_module")
try:
    done = importlib.import_module(asked["flow"]).run(tasks.HostTask(*asked["task"]))
    answer = done.__dict__
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
        prefix: the command that runs another one where the library finds its token.
        stop: ends what the token lives on, as if it had been pulled out.
    """

    folder: Path
    library: str
    environment: dict[str, str]
    pins: dict[str, str] = field(default_factory=dict)
    prefix: list[str] = field(default_factory=list)
    stop: Callable[[], None] = field(default=lambda: None)

    def uri(self, token: str = "", **parts: str) -> str:
        """The URI of a token of this library."""
        named = {"token": token, **parts} if token else parts
        path = ";".join(f"{name}={value}" for name, value in named.items())
        return f"pkcs11:{path}?module-path={self.library}"

    def call(
        self, flow: str, check: bool = False, step: str | None = None, relay: object = None, **params: object
    ) -> dict:
        """What the flow returns, or its error's class and message."""
        asked = {"module": f"_flow.{flow}", "params": params, "check": check, "step": step, "relay": relay}
        done = self.run([sys.executable, "-c", _CHILD], json.dumps(asked))
        assert done.returncode == 0, done.stderr
        answer: dict = json.loads(done.stdout)
        return answer

    def step(self, flow: str, task: list) -> dict:
        """The members of what one step of a flow returns (FlowResult), or its error's class and message.

        Args:
            flow: full name of its module.
            task: the members of its HostTask, in their order.
        """
        return self.python(_STEP, flow=flow, task=task)

    def python(self, code: str, **asked: object) -> dict:
        """What the code prints as JSON, in a process of its own; it reads ``asked`` from its standard input."""
        done = self.run([sys.executable, "-c", code], json.dumps(asked))
        assert done.returncode == 0, done.stderr
        answer: dict = json.loads(done.stdout)
        return answer

    @contextmanager
    def process(self, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        """A command with the library's environment, running: the caller writes lines to it and reads from it."""
        with subprocess.Popen(
            [*self.prefix, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment(),
            text=True,
            bufsize=1,  # a line leaves when it is written: none is left to be written to an ended process
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _environment(self) -> dict[str, str]:
        paths = os.pathsep.join(path for path in sys.path if path)
        return {**os.environ, **self.environment, "PYTHONPATH": paths}

    def run(self, command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command with the library's environment."""
        return subprocess.run(
            [*self.prefix, *command],
            input=stdin,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
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


@contextmanager
def opencryptoki(folder: Path) -> Iterator[Store]:
    """openCryptoki's soft token, not initialised, with a ``pkcsslotd`` of its own. Needs root.

    The daemon and the library have fixed paths and talk through System V shared memory: both get namespaces of their
    own, in which these paths are folders of the test.
    """
    for name in ("lib", "run"):
        (folder / name).mkdir(parents=True)
    script = " && ".join(
        [
            f"mount --bind {folder}/run /run",
            f"mount --bind {folder}/lib /var/lib/opencryptoki",
            "mount -t tmpfs tmpfs /dev/shm",
            "mkdir -p /var/lib/opencryptoki/swtok/TOK_OBJ /run/lock/opencryptoki/swtok",
            "chgrp -R pkcs11 /var/lib/opencryptoki /run/lock/opencryptoki",
            "pkcsslotd",
        ]
    )
    script += "; sleep infinity & wait"  # a shell as the first process takes in what has ended
    command = ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script]
    with _running(command, folder / "daemon.log") as process:
        _wait_for((folder / "run" / "pkcsslotd.socket").exists, process, folder / "daemon.log")
        inside = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        enter = ["nsenter", "--target", inside, "--mount", "--ipc", "--pid"]
        store = Store(folder, OPENCRYPTOKI, {}, prefix=enter)
        store.stop = lambda: _stop_slot_daemon(enter)
        yield store


def _stop_slot_daemon(enter: list[str]) -> None:
    """Within its own PID namespace there is one process of this name."""
    subprocess.run([*enter, "pkill", "-KILL", "-x", "pkcsslotd"], check=True)
    _wait_for(
        lambda: (
            subprocess.run([*enter, "pgrep", "-x", "pkcsslotd"], stdout=subprocess.DEVNULL, check=False).returncode == 1
        )
    )


@contextmanager
def tpm(folder: Path) -> Iterator[Store]:
    """A TPM 2.0 (swtpm) with tpm2-abrmd on a message bus of its own, and tpm2-pkcs11's store, empty."""
    for name in ("state", "store"):
        (folder / name).mkdir(parents=True)
    port = _two_free_ports()
    bus = folder / "bus"
    swtpm = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}/state", "--flags", "not-need-init,startup-clear"]
    swtpm += ["--server", f"type=tcp,port={port},disconnect", "--ctrl", f"type=tcp,port={port + 1}"]
    address = f"unix:path={bus}"
    environment = {
        "DBUS_SESSION_BUS_ADDRESS": address,
        "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
        "TPM2_PKCS11_STORE": str(folder / "store"),
        "TPM2_PKCS11_LOG_LEVEL": "0",
        "TSS2_LOG": "all+none",
    }
    with ExitStack() as stack:
        chip = stack.enter_context(_running(swtpm, folder / "swtpm.log"))
        _wait_for(lambda: _answers(port), chip, folder / "swtpm.log")
        dbus = ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}"]
        started = stack.enter_context(_running(dbus, folder / "dbus.log"))
        _wait_for(bus.exists, started, folder / "dbus.log")
        broker = ["tpm2-abrmd", "--session", "--allow-root", f"--tcti=swtpm:host=127.0.0.1,port={port}"]
        running = stack.enter_context(_running(broker, folder / "abrmd.log", environment))
        asked = ["dbus-send", f"--bus={address}", "--print-reply", "--dest=org.freedesktop.DBus", "/"]
        asked += ["org.freedesktop.DBus.NameHasOwner", "string:com.intel.tss2.Tabrmd"]
        _wait_for(
            lambda: "true" in subprocess.run(asked, capture_output=True, text=True, check=False).stdout,
            running,
            folder / "abrmd.log",
        )
        yield Store(folder, TPM, environment, stop=chip.kill)


@contextmanager
def _running(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as told:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env={**os.environ, **(environment or {})}
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)


def _wait_for(
    there: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    end = time.monotonic() + 20
    while not there():
        ended = process is not None and process.poll() is not None
        assert not ended and time.monotonic() < end, log.read_text() if log else "it does not come"
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _two_free_ports() -> int:
    """The first of two ports side by side: swtpm's control channel is expected beside its own."""
    for dummy in range(50):
        # Below those that the system gives to connections.
        port = secrets.choice(range(10_000, 32_000))
        sides = (socket.create_server(("127.0.0.1", side)) for side in (port, port + 1))
        with suppress(OSError), next(sides), next(sides):
            return port
    raise AssertionError("no two free ports")


def new_pins() -> dict[str, str]:
    """A user PIN and a security officer's; openCryptoki takes at most 8 characters."""
    return {"pin": secrets.token_hex(4), "so_pin": secrets.token_hex(4)}
