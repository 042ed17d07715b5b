# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller with scheduled jobs, all of its folders in one place; its host is the same machine."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import story
from prometheus_client.parser import text_string_to_metric_families

CHECKOUT = Path(__file__).resolve().parents[2]
WITH_ENV = str(CHECKOUT / "tests/tools/with-env")
_VARIABLES = ("ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH", "ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP")


@dataclass
class Desk:
    """What the role installed below ``folder``.

    Attributes:
        passphrase: of the key that signs events; only the environment file has it.
        vault_passphrase_name: of the environment variable that brings it to the playbook.
    """

    folder: Path
    scene: story.Scene
    passphrase: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)
    vault_passphrase_name: str = "LOG_KEY_PASSPHRASE"

    def __post_init__(self) -> None:
        for name in ("cron.d", "units"):
            (self.folder / name).mkdir()
        self.environment_file = self.folder / "secrets.env"
        self.environment_file.touch(0o600)
        self.environment_file.write_text(f"# of the jobs\n{self.vault_passphrase_name}='{self.passphrase}'\n")
        self.hook = self.folder / "hook"
        self.hook.write_text(f'#!/bin/sh\nenv > {self.folder}/hook."$KEYOPS_JOB"\n')
        self.hook.chmod(0o700)
        self._make_log_key()

    def _make_log_key(self) -> None:
        plain, self.log_key = self.folder / "plain.key", self.folder / "log.key"
        story.make_certificate(plain, self.folder / "log.pem", "log", "EC:P-256", "digitalSignature")
        story.openssl(
            *("pkey", "-in", plain, "-aes256", "-passout", "stdin", "-out", self.log_key),
            stdin=self.passphrase.encode() + b"\n",
        )
        plain.unlink()
        self.log_key.chmod(0o600)

    def inventory(self, host: story.Machine, names: list[str], vault_path: Path) -> Path:
        """The inventory of one host with these keys to archive."""
        vault = {"path": str(vault_path), "log_signing_key": str(self.log_key)}
        vault["log_signing_key_passphrase"] = f"{{{{ lookup('ansible.builtin.env', '{self.vault_passphrase_name}') }}}}"
        python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        variables = {
            "keyops_vault": vault,
            "keyops_recovery_groups": self.scene.groups(),
            "keyops_log_signing_certificates": [(self.folder / "log.pem").read_text()],
            "keyops_state_dir": str(host.folder / "state"),
            "keyops_keys": [{"key": str(host.folder / name), "usage": "key_agreement"} for name in names],
            "keyops_on_refusal": "skip",
        }
        path = self.folder / f"{host.name}.yml"
        path.write_text(json.dumps({"all": {"hosts": {host.name: python}, "vars": variables}}))
        return path

    def job(self, name: str, inventory: Path, **options: object) -> dict:
        """An item of keyops_schedule_jobs; once a year unless it says otherwise."""
        shown = subprocess.run([WITH_ENV, "env"], capture_output=True, text=True, check=True).stdout.splitlines()
        environment = dict(line.split("=", 1) for line in shown if line.split("=")[0] in _VARIABLES)
        common = {
            **{"name": name, "inventory": [str(inventory)], "cron": "0 0 1 1 *", "on_calendar": "yearly"},
            **{"environment_file": str(self.environment_file), "environment": environment},
            **{"failure_hook": [str(self.hook)], "timeout": 60},
        }
        return {**common, **options}

    def apply(self, jobs: list[dict], *arguments: str, fails: bool = False, **variables: object) -> str:
        """Run the role; returns what it printed."""
        folders = {f"keyops_schedule_{name}_dir": str(self.folder / name) for name in ("library", "config", "state")}
        folders.update({f"keyops_schedule_{name}_dir": str(self.folder / name) for name in ("log", "metrics", "units")})
        given = {
            **{"keyops_schedule_jobs": jobs, "keyops_schedule_with": "cron", "keyops_schedule_packages": []},
            **{"keyops_schedule_cron_dir": str(self.folder / "cron.d"), "keyops_schedule_user": "root"},
            **folders,
            **variables,
        }
        play = {"hosts": "controller", "gather_facts": False, "roles": ["keyops.lifecycle.schedule"], "vars": given}
        playbook, inventory = self.folder / "schedule.json", self.folder / "controller.ini"
        playbook.write_text(json.dumps([play]))
        inventory.write_text(f"controller ansible_connection=local ansible_python_interpreter={sys.executable}\n")
        done = subprocess.run(
            [WITH_ENV, "ansible-playbook", "-i", inventory, playbook, *arguments],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "true"},
        )
        assert (done.returncode != 0) == fails, done.stdout[-4000:] + done.stderr[-2000:]
        return done.stdout

    def start(self, name: str) -> subprocess.Popen:
        """Start a job as its crontab does, without the jitter."""
        command = ["/usr/bin/python3", "-IB", self.folder / "library/keyops_job", "--now"]
        return subprocess.Popen(
            [*map(str, command), str(self.folder / "config" / f"{name}.json")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def derive(self, name: str, **options: object) -> None:
        """A job like ``archive`` without the role: its configuration and its folders."""
        configuration = json.loads((self.folder / "config/archive.json").read_text())
        (self.folder / f"config/{name}.json").write_text(json.dumps({**configuration, "name": name, **options}))
        for kind in ("state", "log"):
            (self.folder / kind / name).mkdir(mode=0o700)

    def run(self, name: str) -> int:
        """Run a job; returns its exit status."""
        process = self.start(name)
        process.communicate(timeout=90)
        return process.returncode

    def log(self, name: str) -> str:
        """A job's log."""
        return (self.folder / "log" / name / f"{name}.log").read_text()

    def metric(self, name: str) -> dict[str, float]:
        """A job's metric, read by Prometheus' own parser: name without its prefix to value; the digest as a label."""
        text = (self.folder / "metrics" / f"keyops_{name}.prom").read_text()
        check_as_promtool_does(text)
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                assert sample.labels["name"] == name
                found[sample.name.removeprefix("keyops_job_")] = sample.value
                found.update({label: value for label, value in sample.labels.items() if label == "digest"})
        return found


def check_as_promtool_does(text: str) -> None:
    """What promtool check metrics looks for: help and type of each, names, units, counters alone end with _total."""
    assert text.endswith("\n") and text.isascii()
    seen = set()
    for family in text_string_to_metric_families(text):
        name = family.samples[0].name
        assert family.documentation and family.type in ("gauge", "counter"), name
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert name.endswith("_total") == (family.type == "counter"), name
        assert not re.search("_(milliseconds|minutes|hours|kilobytes|count|sum|bucket|gauge|counter)(_|$)", name), name
        for sample in family.samples:
            identity = (sample.name, *sorted(sample.labels.items()))
            assert identity not in seen, identity
            seen.add(identity)
    assert len(seen) == len([line for line in text.splitlines() if not line.startswith("#")])


def start_cron(folder: Path) -> subprocess.Popen:
    """Debian's cron, which sees no other crontab of this machine than those in the folder."""
    script = """
        set -e
        mount --bind "$1" /etc/cron.d
        mount --bind /dev/null /etc/crontab
        mount -t tmpfs none /run
        mount -t tmpfs none /var/spool/cron
        mkdir /var/spool/cron/crontabs
        exec cron -f -L 15
    """
    program = shutil.which("unshare")
    assert program
    command = [program, "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
