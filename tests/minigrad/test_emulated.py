"""Kernels as they are compiled for a processor with AVX-512, which the tests' own may lack."""
from pathlib import Path

import pytest

import emulator


@pytest.mark.extra("bochscpu")
def test_products_with_avx512_are_right():
    """The matrix multiply, and a row by weights in blocks."""
    script = Path(emulator.__file__).with_name("kernels_with_avx512.py")
    assert emulator.run(script) == "all right\n"
