"""A GPU made of C++, for CuPy itself to compute on: ``python -m tests.emulator FOLDER``. docs/gpu.md tells more."""
