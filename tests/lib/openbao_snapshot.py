# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backup of an OpenBao cluster as its users do it: a Raft snapshot, restored into a new cluster (docs/production.md).

    tests/lib/openbao_snapshot.py save FOLDER FILE                               from the cluster in FOLDER
    tests/lib/openbao_snapshot.py restore FOLDER FILE OLD-FOLDER [AUDIT-FILE]    into a new cluster in FOLDER

A restored cluster has the keys and the tokens of the old one: OLD-FOLDER's unseal key and root token go with it. It is
restored while it is one node; a second one that has not caught up with its new cluster then could not be unsealed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from openbao_cluster import Cluster, wait


def bao(cluster: Cluster, *arguments: str) -> None:
    """The server's own command line, as root, on the leader."""
    leader = cluster.leader()
    assert leader, "there is no leader"
    environment = {"BAO_ADDR": leader.url, "BAO_CACERT": str(cluster.ca_cert), "BAO_TOKEN": cluster.root_token}
    subprocess.run(["bao", *arguments], check=True, env={**os.environ, **environment})


def restore(cluster: Cluster, snapshot: Path, old: Path) -> None:
    """Make a new cluster the one that the snapshot was taken from."""
    cluster.up(3, running=1)
    bao(cluster, "operator", "raft", "snapshot", "restore", "-force", str(snapshot))
    for name in ("unseal-key", "root-token"):
        (cluster.folder / name).write_text((old / name).read_text())
    # Its own keys open the new cluster no more, so it seals itself.
    wait(lambda: cluster.leader() is None, "the cluster does not take the snapshot's keys")
    cluster.unseal(cluster.nodes[0])
    cluster.wait_ready()
    cluster.up()


def main() -> None:
    """The command line."""
    if len(sys.argv) < 4 or sys.argv[1] not in ("save", "restore"):
        sys.exit(__doc__)
    audit = Path(sys.argv[5]).resolve() if len(sys.argv) > 5 else None
    cluster, snapshot = Cluster(Path(sys.argv[2]), audit=audit), Path(sys.argv[3])
    if sys.argv[1] == "save":
        bao(cluster, "operator", "raft", "snapshot", "save", str(snapshot))
    else:
        restore(cluster, snapshot, Path(sys.argv[4]))


if __name__ == "__main__":
    main()
