"""A Ray cluster on this machine, for the modules of tests that need one."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from bench.measure import child_environment

TOKEN: Final = secrets.token_hex()
"""One for all clusters of a test process: Ray reads it once."""

QUICK_TO_NOTICE: Final = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 100,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""Settings of Ray: a node that was killed is known to be gone within a second."""


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """A node of two processes on loopback, and this process connected to it."""
    with pytest.MonkeyPatch.context() as patch:
        # Read when Ray is imported: without it, Ray listens on the network.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.setenv("PYTHONPATH", child_environment()["PYTHONPATH"])
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 2, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
