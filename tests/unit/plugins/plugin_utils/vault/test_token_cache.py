# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One login for all workers of a play."""

from __future__ import annotations

import os
import time

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.token_cache import reserve, shared_token

# As open.py does before Ansible forks.
reserve()


@pytest.fixture
def name():
    return os.urandom(8).hex()


class Server:
    def __init__(self, seconds=3600.0):
        self.logins = 0
        self.seconds = seconds

    def log_in(self):
        self.logins += 1
        return f"token {os.getpid()} {self.logins}", self.seconds


def in_children(count, work):
    """What ``work`` returns in so many forked processes at once."""
    readers = []
    for _number in range(count):
        reader, writer = os.pipe()
        if not os.fork():
            os.write(writer, work().encode())
            os._exit(0)
        os.close(writer)
        readers.append(reader)
    found = [os.read(reader, 1000).decode() for reader in readers]
    for reader in readers:
        os.close(reader)
        os.wait()
    return found


def test_forked_workers_share_one_login(name):
    def work():
        server = Server()
        token = shared_token(name, lambda: (time.sleep(0.2), server.log_in())[1])
        return f"{token}|{server.logins}"

    found = [one.split("|") for one in in_children(8, work)]
    assert len({token for token, _logins in found}) == 1
    assert sum(int(logins) for _token, logins in found) == 1


def test_names_do_not_share(name):
    server = Server()
    assert shared_token(name, server.log_in) != shared_token(name + "x", server.log_in)
    assert shared_token(name, server.log_in) != shared_token(name + "x", server.log_in)
    assert server.logins == 2


def test_a_refused_token_is_replaced_once(name):
    server = Server()
    spent = shared_token(name, server.log_in)
    new = shared_token(name, server.log_in, refused=spent)
    assert new != spent
    assert shared_token(name, server.log_in, refused=spent) == new
    assert server.logins == 2


def test_a_token_near_its_end_is_not_used(name):
    server = Server(seconds=20)
    assert shared_token(name, server.log_in) != shared_token(name, server.log_in)


def test_those_who_waited_for_a_login_that_failed_fail_with_it(name):
    """Each trying for itself, one after the other, would take the number of hosts times the vault's timeout."""

    def refuse():
        time.sleep(0.5)
        raise VaultForbidden("no")

    def work():
        start = time.monotonic()
        with pytest.raises(VaultForbidden, match="no"):
            shared_token(name, refuse)
        return f"{time.monotonic() - start:.2f}"

    took = [float(one) for one in in_children(8, work)]
    assert max(took) < 2
    assert shared_token(name, Server().log_in), "whoever comes later tries again"


def test_a_killed_worker_locks_nobody_out(name):
    def die():
        os.kill(os.getpid(), 9)
        return "", 0.0

    child = os.fork()
    if not child:
        shared_token(name, die)
    os.waitpid(child, 0)
    assert shared_token(name, Server().log_in)
