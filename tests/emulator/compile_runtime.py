"""Compile CuPy's runtime module; run in CuPy's source, with the Python that CuPy is installed for: see __main__.py."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

version, folder, place, *headers = sys.argv[1:]
module = Extension(
    "cupy_backends.cuda.api.runtime",
    ["cupy_backends/cuda/api/runtime.pyx"],
    language="c++",
    libraries=["cudart"],
    include_dirs=[folder, *headers],
    library_dirs=[place],
    extra_compile_args=["-O1", "-w"],
    extra_link_args=["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"],
)
options = {"binding": False, "c_api_binop_methods": True, "embedsignature": True, "warn.deprecated.IF": False}
constants = {
    "CUPY_USE_CUDA_PYTHON": False,
    "CUPY_CUFFT_STATIC": False,
    "CUPY_CYTHON_VERSION": "3",
    "CUPY_CUDA_VERSION": int(version),
    "CUPY_HIP_VERSION": 0,
}
modules = cythonize([module], language_level=3, quiet=True, compiler_directives=options, compile_time_env=constants)
where = ["--build-lib", folder + "/built", "--build-temp", folder + "/temporary"]
setup(name="runtime", packages=[], ext_modules=modules, script_args=["-q", "build_ext", *where])
