# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose interpreter answers what it likes: it rules over no variable, inventory or statistic of the play."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._module import digest_of

CHECKOUT = Path(__file__).resolve().parents[2]
EVIL = {
    "ansible_facts": {"keyops_audit_fail_at": "never", "discovered_interpreter_python": "/tmp/evil"},
    "ansible_stats": {"data": {"evil": 1}, "per_host": True},
    "add_host": {"host_name": "evil", "groups": ["agents"], "host_vars": {"keyops_vault": {"path": "/evil"}}},
    "add_group": "evil",
}
SHOW = "{{ [keyops_audit_fail_at | default('unset'), groups['all'], ansible_facts, reply.results | default('none')] }}"


@pytest.mark.parametrize(
    ("answer", "results"),
    [
        ({"changed": False, "results": [], "digest": digest_of([], None)}, []),
        ({"changed": False, "results": []}, "none"),
        ({"changed": False, "digest": "0"}, "none"),
        ({"failed": False, "msg": "x", "results": [1]}, "none"),
    ],
)
def test_a_host_sets_nothing(tmp_path: Path, answer: dict, results: object) -> None:
    evil = tmp_path / "python3"
    evil.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{json.dumps({**answer, **EVIL})}'\n")
    evil.chmod(0o755)
    inventory, playbook, seen = (tmp_path / name for name in ("inventory", "play.json", "seen"))
    inventory.write_text(
        f"bad ansible_connection=local ansible_python_interpreter={evil}\n"
        f"seer ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    )
    look = {"keyops.lifecycle.private_key_info": {"search": {"paths": ["/nowhere"]}}}
    tell = {"ansible.builtin.copy": {"dest": str(seen), "content": SHOW, "mode": "0600"}, "delegate_to": "seer"}
    tasks = [{**look, "register": "reply", "failed_when": False}, tell]
    playbook.write_text(json.dumps([{"hosts": "bad", "gather_facts": False, "tasks": tasks}]))
    command = [str(CHECKOUT / "tests/tools/with-env"), "ansible-playbook", "-i", str(inventory), str(playbook)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(seen.read_text()) == ["unset", ["bad", "seer"], {}, results]
    assert "evil" not in done.stdout.split("PLAY RECAP")[1]


#: Clears the screen, sets the window's title, turns the writing direction, and begins a line of its own.
HOSTILE = "\x1b[2J\x1b]0;evil\x07\u202eevil\r\nPLAY RECAP evil"


def test_a_host_writes_nothing_but_plain_text_to_the_terminal(tmp_path: Path) -> None:
    own = {"add_host": HOSTILE, "add_group": HOSTILE, f"_ansible_{HOSTILE}": HOSTILE}
    told = {**own, "warnings": [HOSTILE] * 200, "deprecations": [{"msg": HOSTILE, "version": "9"}]}
    answers = {
        "warns": {"changed": False, "results": [{}] * 30, "digest": digest_of([{}] * 30, None), **told},
        "fails": {"failed": True, "msg": HOSTILE, "exception": HOSTILE, "module_stderr": HOSTILE, **told},
    }
    lines = []
    for name, answer in answers.items():
        (tmp_path / f"{name}.json").write_text(f"{json.dumps(answer)}\n{HOSTILE}")
        evil = tmp_path / name
        evil.write_text(f"#!/bin/sh\ncat >/dev/null\ncat {tmp_path / name}.json\n")
        evil.chmod(0o755)
        lines.append(f"{name} ansible_connection=local ansible_python_interpreter={evil}\n")
    inventory, playbook, seen = (tmp_path / name for name in ("inventory", "play.json", "seen"))
    inventory.write_text(
        "".join([*lines, f"seer ansible_connection=local ansible_python_interpreter={sys.executable}\n"])
    )
    look = {"keyops.lifecycle.private_key_info": {"search": {"paths": ["/nowhere"], "max_results": 7}}}
    shown = "{{ [reply.results | length, reply.not_looked_at, reply.searched] }}"
    tell = {"ansible.builtin.copy": {"dest": str(seen), "content": shown, "mode": "0600"}, "delegate_to": "seer"}
    playbook.write_text(
        json.dumps([{"hosts": "warns,fails", "gather_facts": False, "tasks": [{**look, "register": "reply"}, tell]}])
    )
    command = [str(CHECKOUT / "tests/tools/with-env"), "ansible-playbook", "-i", str(inventory), str(playbook)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 2 and "failed=1" in output, output
    assert not set(output) & {"\x1b", "\x07", "\r", "\u202e"}, repr(output)
    assert r"\u001b[2J" in output and not [line for line in output.splitlines() if line.startswith("PLAY RECAP evil")]
    told = ["23 more rows of results: left out, because of search.max_results"]
    assert json.loads(seen.read_text()) == [7, told, {"complete": False}]
