"""mosquitto, as the broker inside of a printer."""

import shutil
from pathlib import Path

from .process import Process, accepts_connections, free_port, wait_for

BINARY = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
PASSWORDS = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"


class Mosquitto:
    """A broker on a loopback port for those who know one of the passwords; it keeps the port over restarts."""

    def __init__(self, directory: Path, passwords_by_user: dict[str, str]):
        self.directory, self.passwords_by_user = directory, passwords_by_user
        self.port = free_port()
        self.process: Process | None = None

    def start(self) -> "Mosquitto":
        self.directory.mkdir(parents=True, exist_ok=True)
        passwords = self.directory / "passwords"
        passwords.write_text("".join(f"{user}:{password}\n" for user, password in self.passwords_by_user.items()))
        passwords.chmod(0o600)
        hashing = Process([PASSWORDS, "-U", passwords], self.directory / "passwd.log")
        assert hashing.popen.wait(20) == 0, hashing.tail()
        hashing.close()
        file = self.directory / "mosquitto.conf"
        # It gives up its rights for those of a user who may not read the tests' folders.
        file.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
            "log_type all\npersistence false\n"
        )
        self.process = Process([BINARY, "-c", file], self.directory / "mosquitto.log")
        wait_for(lambda: accepts_connections(self.port), 20, f"mosquitto\n{self.process.tail()}")
        return self

    def restart(self):
        self.close()
        self.start()

    def log(self) -> str:
        return (self.directory / "mosquitto.log").read_text(errors="replace")

    def close(self):
        if self.process:
            self.process.close()
            self.process = None
