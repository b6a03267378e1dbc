"""LZF, the compression of PCD files (format of Marc Lehmann's LibLZF 3.6, ``lzf_d.c``)."""

import struct


def decompress(content: bytes, num_bytes: int) -> bytes:
    """The bytes behind a block as PCD stores it: two uint32, how many bytes it has packed and unpacked, then those.

    Args:
        content: the block; what follows it is ignored.
        num_bytes: how many it has to unpack to.

    Raises:
        ValueError: the block is damaged, or has another size.
    """
    num_packed, num_unpacked = struct.unpack_from("<II", content)
    if num_packed > len(content) - 8 or num_unpacked != num_bytes:
        raise ValueError(f"the compressed block of {num_packed} bytes is truncated or not of {num_bytes} bytes")
    packed, unpacked, at = memoryview(content)[8 : 8 + num_packed], bytearray(), 0
    while at < num_packed:
        control = packed[at]
        at += 1
        if control < 32:  # that many bytes and one as they are
            unpacked += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5  # of a piece that was there before
        if length == 7:
            length += packed[at]
            at += 1
        start = len(unpacked) - ((control & 31) << 8) - packed[at] - 1
        at += 1
        length += 2
        if start < 0:
            raise ValueError("the compressed block is damaged")
        piece = unpacked[start : start + length]
        while len(piece) < length:  # it overlaps what it makes
            piece += piece[: length - len(piece)]
        unpacked += piece
        if len(unpacked) > num_bytes:
            break
    if len(unpacked) != num_bytes:
        raise ValueError("the compressed block is damaged")
    return bytes(unpacked)
