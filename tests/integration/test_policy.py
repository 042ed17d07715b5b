# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A policy through the real ansible-playbook: refusals change nothing, and no host's process ever sees the policy."""

from __future__ import annotations

import sys
from pathlib import Path

import local_play
import story
from local_play import task

SENTINEL = "no-host-reads-this"
POLICY = {
    "extends": "cabf-smime",
    "name": "example.com",
    "description": SENTINEL,
    "all_usages": {"owners": ["root"]},
    "usages": {"key_agreement": {"archive": "required", "minimum_agents": 3, "algorithms": ["ec-p384"]}},
}


def refused(one: dict, *parts: str) -> list[dict]:
    """The task, which must be refused with a message that has these parts."""
    said = [f"'{part}' in said.msg" for part in parts]
    that = ["said.error_class == 'PolicyRefused'", *said]
    judged = {"that": that, "fail_msg": "{{ said | to_json }}"}
    checked = {"name": "It must be refused", "ansible.builtin.assert": judged}
    return [{**one, "register": "said", "failed_when": "said is not failed"}, checked]


def not_provisioned(key: str) -> list[dict]:
    """The role, without recovery groups for a key that the policy wants archived; and proof that it made none."""
    keys = [{"key": key, "usage": "key_agreement", "algorithm": "ec-p384"}]
    role = {"name": "Provision", "ansible.builtin.include_role": {"name": "keyops.lifecycle.provision"}}
    told = ["'nobody would do it' in ansible_failed_result.msg", f"'{key}' is not exists"]
    return [
        {
            "block": [{**role, "vars": {"keyops_keys": keys, "keyops_policy": POLICY}}, {"ansible.builtin.fail": {}}],
            "rescue": [{"name": "Nothing was made", "ansible.builtin.assert": {"that": told}}],
        }
    ]


def test_a_play_with_a_policy(tmp_path: Path) -> None:
    scene = story.make_scene(tmp_path)
    host = scene.machine("mail1")
    mail, weak = str(host.folder / "mail.key"), str(host.folder / "weak.key")
    state = {"state_dir": str(host.folder / "state"), "policy": POLICY}
    wish = {"key": mail, "usage": "key_agreement", "algorithm": "ec-p384"}
    request = {"key": mail, "path": f"{mail}.csr", "subject": "CN=mail", "extended_key_usage": ["emailProtection"]}
    two = [{**scene.groups()[0], "agents": scene.groups()[0]["agents"][:2]}]
    archive = {"keys": [{"key": mail}], "key_owner": "mail1", **state}
    tasks = [
        *refused(
            task("private_key", keys=[wish, {**wish, "key": weak, "algorithm": "ec-p256"}], **state),
            *("usages.key_agreement.algorithms", "ec-p384", "policy example.com"),
        ),
        {"name": "Nothing was made", "ansible.builtin.assert": {"that": f"'{mail}' is not exists"}},
        task("private_key", keys=[wish], **state),
        *refused(task("key_archive", **archive, recovery_groups=two), "minimum_agents"),
        task("key_archive", **archive, recovery_groups=scene.groups()),
        *not_provisioned(weak),
        *refused(task("csr", keys=[{**request, "extended_key_usage": []}], **state), "section 7.1.2.3"),
        task("csr", keys=[request], **state),
    ]
    log, interpreter = tmp_path / "sent", tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\ntee -a {log} | {sys.executable} "$@"\n')
    interpreter.chmod(0o700)
    controller = local_play.Controller(tmp_path)
    controller.run(host, tasks, "-e", f"ansible_python_interpreter={interpreter}")
    assert Path(f"{mail}.csr").exists() and not Path(weak).exists()
    sent = log.read_text()
    assert mail in sent and "minimum_threshold" in sent
    assert SENTINEL not in sent and "minimum_agents" not in sent
