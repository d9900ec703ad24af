"""Slow twins of the kernels: the same answer by the plainest code, for tests to compare with.

One section a kernel topic; nothing here is imported by the product.
"""

from __future__ import annotations
