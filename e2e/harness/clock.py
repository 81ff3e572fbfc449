"""A wall clock that a test can set, for one process; the monotonic clock goes on as it was."""

from pathlib import Path

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


class Clock:
    def __init__(self, directory: Path):
        self.file = directory / "clock"
        self.set("+0")

    def set(self, offset: str):
        """Moves the clock: `+400d`, `-1h`."""
        temporary = self.file.with_suffix(".new")
        temporary.write_text(offset + "\n")
        temporary.rename(self.file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
