"""Ray's own test cluster."""

from contextlib import contextmanager


@contextmanager
def a_cluster(nodes, cpus):
    """Ray's own test cluster: a head where nothing trains, and nodes, each a set of processes of this machine."""
    import ray
    from ray.cluster_utils import Cluster

    quickly = {"health_check_period_ms": 200, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 3}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0, "object_store_memory": 100_000_000, "include_dashboard": False, "_system_config": quickly,
        },
    )  # fmt: skip
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=cpus, object_store_memory=100_000_000)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
