"""What parsing and decoding libraries raise on malformed input, by name: pydicom promises no single exception type."""

import struct

MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    RuntimeError,  # also RecursionError and NotImplementedError
    TypeError,
    ValueError,
    struct.error,
)
