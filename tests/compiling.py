"""Options that compile small programs quickly, for `jax.jit(…, compiler_options=QUICK_TO_COMPILE)`."""

from __future__ import annotations

import jax


def known(options: dict[str, int | bool]) -> dict[str, int | bool]:
    """Those of the options that this version of XLA has: it refuses a program with any other."""
    found = {}
    for name, value in options.items():
        try:
            jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
        else:
            found[name] = value
    return found


QUICK_TO_COMPILE = known({"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False})
"""For programs that run once: these settings of XLA compile the parity suite's blocks six times faster."""
