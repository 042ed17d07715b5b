# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a vault server holds, asked for by plain HTTP as root: nothing of the product is used (see outside.py)."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from openbao_cluster import Cluster
from outside import VaultFile, check_vault

_THREADS = 4


class OutsideServer:
    """One key-value engine. Objects never change, so each is read once; ``forget`` has all of them read again."""

    def __init__(self, cluster: Cluster, mount: str) -> None:
        self._cluster, self.mount = cluster, mount
        self._known: dict[str, bytes] = {}

    def forget(self) -> dict[str, bytes]:
        """What was read so far, which is read again at the next look."""
        known, self._known = self._known, {}
        return known

    def look(self) -> VaultFile:
        """Everything that is there; it fits together, and nothing that was there is gone."""
        self._cluster.wait_ready()
        leader = self._cluster.leader()
        assert leader, "there is no leader"
        reader = _Reader(leader.url, self._cluster, self.mount)
        with ThreadPoolExecutor(_THREADS) as pool:
            paths: set[str] = set()
            folders = [""]
            while folders:
                below = [one for names in pool.map(reader.names, folders) for one in names]
                folders = [one for one in below if one.endswith("/")]
                paths |= {one for one in below if not one.endswith("/")}
            gone = self._known.keys() - paths
            assert not gone, f"objects are gone: {sorted(gone)[:5]}"
            new = sorted(paths - self._known.keys())
            self._known.update(zip(new, pool.map(reader.content, new)))
        return check_vault(VaultFile(dict(self._known)))


class _Reader:
    """Connections of the threads that read."""

    def __init__(self, url: str, cluster: Cluster, mount: str) -> None:
        self._netloc, self._mount, self._token = urlsplit(url).netloc, mount, cluster.root_token
        self._context = ssl.create_default_context(cafile=str(cluster.ca_cert))
        self._own = threading.local()

    def names(self, folder: str) -> list[str]:
        """Full paths directly below a folder."""
        answer = self._get("LIST", f"metadata/{folder}")
        return [folder + name for name in answer["data"]["keys"]] if answer else []

    def content(self, path: str) -> bytes:
        """Of one object, which has exactly one version."""
        data = self._get("GET", f"data/{path}")["data"]
        assert data["metadata"]["version"] == 1, f"{path} was written twice"
        return base64.b64decode(data["data"]["content"], validate=True)

    def _get(self, method: str, path: str) -> dict:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPSConnection(self._netloc, timeout=20, context=self._context)
        self._own.connection.request(method, f"/v1/{self._mount}/{path}", headers={"X-Vault-Token": self._token})
        response = self._own.connection.getresponse()
        answer = json.loads(response.read())
        assert response.status in (200, 404), answer
        return dict(answer) if response.status == 200 else {}
