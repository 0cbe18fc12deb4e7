"""Settings that have to be made before JAX starts."""

import os

# Eight devices on any machine, so that sharding is tested everywhere.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax

jax.config.update("jax_default_matmul_precision", "highest")
