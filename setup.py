"""What pyproject.toml cannot say: the compiled sums, which every CPython from 3.11 on can load once they are built.

Without a C compiler the package installs all the same, and NumPy does their work.
"""

import sys
import sysconfig

from setuptools import Extension, setup

# Py_buffer is in the stable ABI since Python 3.11; a free-threaded interpreter has no stable ABI.
stable = (
    sys.implementation.name == "cpython"
    and sys.version_info >= (3, 11)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
folder = "delta_server/gdml/compiled"

setup(
    ext_modules=[
        Extension(
            "delta_server.gdml.compiled._compiled",
            sources=[f"{folder}/_compiled.c"],
            depends=[f"{folder}/_loops.h", f"{folder}/_descriptor.h"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if stable else [],
            extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"],
            py_limited_api=stable,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if stable else {},
)
