"""JAX as :mod:`metapbt.jax_backend` sets it up."""

from __future__ import annotations

from metapbt.jax_backend import jax, jnp

__all__ = ["jax", "jnp"]
