"""A Ray cluster whose nodes all run on this machine, one CPU each."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

# The least that Ray takes. Left alone, each node would reserve a third of the machine's memory in /dev/shm.
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
# No dashboard, and a dead node is found out in one second rather than in twelve.
HEAD = NODE | {
    "include_dashboard": False,
    "_system_config": {"health_check_period_ms": 300, "health_check_failure_threshold": 3},
}


class Nodes:
    """A first node, to which the drivers connect and which stays, and up to two more that come and go."""

    def __init__(self, folder: Path) -> None:
        """They work in a folder of their own: what a driver calls /proc/self/cwd is another one there."""
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder)}
        from ray.cluster_utils import Cluster

        self._elsewhere = folder / "nodes"
        self._elsewhere.mkdir()
        with self._starting():
            self._cluster: Any = Cluster(initialize_head=True, head_node_args=HEAD)
        self.address: str = self._cluster.address

    def add(self) -> bool:
        """Another node, unless there are three."""
        if len(self._cluster.worker_nodes) == 2:
            return False
        with self._starting():
            self._cluster.add_node(**NODE)
        return True

    def kill(self, rng: random.Random) -> bool:
        """One of those that may go, with all that it trains."""
        if not (others := sorted(self._cluster.worker_nodes, key=_raylet)):
            return False
        self._cluster.remove_node(rng.choice(others), allow_graceful=False)
        return True

    def raylets(self) -> list[int]:
        """The processes whose children train."""
        return [_raylet(node) for node in self._cluster.list_all_nodes()]

    @contextmanager
    def _starting(self) -> Iterator[None]:
        # A node takes the signal for itself, and would drain for half a minute before this program ends.
        on_sigterm = signal.getsignal(signal.SIGTERM)
        with chdir(self._elsewhere):
            yield
        signal.signal(signal.SIGTERM, on_sigterm)


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid
