# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""agent_ids: OpenSSL is the judge of what the ID is."""

from __future__ import annotations

import hashlib
import subprocess

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.keyops.lifecycle.plugins.filter.agent_ids import agent_ids


def certificate(tmp_path, *options):
    new = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *options]
    subprocess.run([*new, "-subj", "/CN=a", "-keyout", "k", "-out", "c"], cwd=tmp_path, check=True, capture_output=True)
    text = (tmp_path / "c").read_text()
    public = subprocess.run(
        ["openssl", "pkey", "-in", "k", "-pubout", "-outform", "DER"], cwd=tmp_path, check=True, capture_output=True
    )
    return text, hashlib.sha256(public.stdout).hexdigest()


def test_every_agent_once(tmp_path):
    pem, agent_id = certificate(tmp_path, "-days", "1")
    other, other_id = certificate(tmp_path, "-days", "1")
    carol = {"name": "carol", "encryption_certificate": "text before\n" + pem}
    dave = {"name": "dave", "encryption_certificate": other}
    groups = [{"agents": [carol, dave]}, {"agents": [{**carol, "name": "carol again"}]}]
    assert agent_ids(groups) == [{"name": "carol", "agent_id": agent_id}, {"name": "dave", "agent_id": other_id}]
    assert agent_ids([]) == []


@pytest.mark.parametrize("agent", [{}, "x", {"name": "x"}, {"name": "x", "encryption_certificate": "no certificate"}])
def test_what_is_no_agent(agent):
    with pytest.raises(AnsibleFilterError):
        agent_ids([{"agents": [agent]}])


def test_two_certificates_are_ambiguous(tmp_path):
    pem, dummy = certificate(tmp_path, "-days", "1")
    with pytest.raises(AnsibleFilterError):
        agent_ids([{"agents": [{"name": "x", "encryption_certificate": pem + pem}]}])
