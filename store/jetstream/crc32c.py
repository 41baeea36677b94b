"""CRC-32C (Castagnoli, RFC 3720) of large blocks, without a compiled extension.

A byte at a time in Python takes a quarter of a second for a megabyte. Here a block is cut into
thousands of rows of equal length, and one step takes the next byte of all rows together:
``bytes.translate`` looks up the table and large integers do the exclusive or, both at the speed of
C. The rows' remainders are joined in the end, which is linear algebra over bits.
"""

from __future__ import annotations

import struct
from functools import cache

POLYNOMIAL = 0x82F63B78  # reflected
ROW_BYTES = 128
_ONES = 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    entries: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


@cache
def _planes() -> tuple[bytes, bytes, bytes, bytes]:
    """The table by byte, lowest first, as ``bytes.translate`` takes it."""
    first, second, third, fourth = (
        bytes(entry >> shift & 0xFF for entry in _table()) for shift in (0, 8, 16, 24)
    )
    return first, second, third, fourth


@cache
def _row_shift() -> tuple[tuple[int, ...], ...]:
    """What ROW_BYTES zero bytes make of a remainder, by each of its four bytes."""
    return tuple(
        tuple(_zeros(byte << shift, ROW_BYTES) for byte in range(256)) for shift in (0, 8, 16, 24)
    )


def _zeros(remainder: int, count: int) -> int:
    table = _table()
    for _ in range(count):
        remainder = table[remainder & 0xFF] ^ remainder >> 8
    return remainder


def crc32c(data: bytes) -> int:
    """The checksum of ``data`` as an unsigned number of 32 bits."""
    if len(data) < 4:
        return _plain(data)
    # The initial value of all ones is the same as the first four bytes inverted. Zero bytes in
    # front then change nothing, so they fill the first row up.
    head = (int.from_bytes(data[:4], "little") ^ _ONES).to_bytes(4, "little")
    padded = bytes(-len(data) % ROW_BYTES) + head + data[4:]
    total = 0
    shift0, shift1, shift2, shift3 = _row_shift()
    for remainder in _remainders(padded):
        total = (
            shift0[total & 0xFF]
            ^ shift1[total >> 8 & 0xFF]
            ^ shift2[total >> 16 & 0xFF]
            ^ shift3[total >> 24]
            ^ remainder
        )
    return total ^ _ONES


def _plain(data: bytes) -> int:
    table, remainder = _table(), _ONES
    for byte in data:
        remainder = table[(remainder ^ byte) & 0xFF] ^ remainder >> 8
    return remainder ^ _ONES


def _remainders(padded: bytes) -> tuple[int, ...]:
    """The remainder of each row, rows being ROW_BYTES long."""
    rows = len(padded) // ROW_BYTES
    table0, table1, table2, table3 = _planes()
    low = second = third = high = 0  # a byte of each row's remainder, all rows in one number

    for column in range(ROW_BYTES):
        index = (low ^ int.from_bytes(padded[column::ROW_BYTES], "little")).to_bytes(rows, "little")
        low = second ^ int.from_bytes(index.translate(table0), "little")
        second = third ^ int.from_bytes(index.translate(table1), "little")
        third = high ^ int.from_bytes(index.translate(table2), "little")
        high = int.from_bytes(index.translate(table3), "little")
    woven = bytearray(4 * rows)
    for place, plane in enumerate((low, second, third, high)):
        woven[place::4] = plane.to_bytes(rows, "little")
    return struct.unpack(f"<{rows}I", woven)
