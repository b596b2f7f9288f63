"""Build of the Cython modules: one extension for every `.pyx`.

`BUTTERFLY_EXT=collector.wire.scan` builds that one alone, `BUTTERFLY_SANITIZE=1` builds with the address and
undefined-behaviour sanitizers, `BUTTERFLY_DEBUG=1` keeps Cython's bounds checks.
"""

import os
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
PACKAGES = ("collector", "receivers", "processors", "exporters")
ONLY = os.environ.get("BUTTERFLY_EXT")
SANITIZE = os.environ.get("BUTTERFLY_SANITIZE") == "1"
DEBUG = os.environ.get("BUTTERFLY_DEBUG") == "1"

compile_args = ["-O3", "-fno-strict-aliasing", "-Wno-unreachable-code"]
link_args: list[str] = []
if SANITIZE:
    compile_args = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    link_args = ["-fsanitize=address,undefined"]


def extensions() -> list[Extension]:
    found = []
    for package in PACKAGES:
        for source in sorted((ROOT / package).rglob("*.pyx")):
            name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
            if ONLY and name not in ONLY.split(","):
                continue
            found.append(
                Extension(
                    name,
                    [str(source.relative_to(ROOT))],
                    include_dirs=[np.get_include()],
                    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
                    extra_compile_args=compile_args,
                    extra_link_args=link_args,
                )
            )
    return found


setup(
    ext_modules=cythonize(
        extensions(),
        language_level=3,
        build_dir="build/cython",
        compiler_directives={
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    )
)
