"""Files with something wrong in them."""

import zipfile
from pathlib import Path


def flipped(data: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[place % len(data)] ^= 1 << bit
    return bytes(changed)


def storage_places(path: Path) -> list[int]:
    """Offsets of all bytes of tensor data in a .pth."""
    data, places = path.read_bytes(), []
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if "/data/" in record.filename:
                start = record.header_offset
                names = int.from_bytes(data[start + 26 : start + 28], "little")
                extra = int.from_bytes(data[start + 28 : start + 30], "little")
                begin = start + 30 + names + extra
                places += range(begin, begin + record.file_size)
    return places


class Runs:
    """What runs code when it is unpickled: it creates a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.target), "w")
