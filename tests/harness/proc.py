"""Child processes: started with a log file, signaled by pid, never left behind."""

import atexit
import ctypes
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

T = TypeVar("T")
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 10.0, every_s: float = 0.01) -> T:
    """The first true value of `condition`. An exception in it counts as not yet."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, ValueError, LookupError, AssertionError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what}; last seen: {last!r}")
        time.sleep(every_s)


def die_with_us() -> None:
    """For `preexec_fn`: whoever is itself killed takes this child with it."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child. The lists are for cleanup, and for what a failed test reports."""

    running: ClassVar[list["Process"]] = []
    last_words: ClassVar[list[tuple[str, str]]] = []  # name and last log lines of those that have ended

    def __init__(self, name: str, argv: list[str], directory: Path, env: dict | None = None):
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=directory,
                env=env,
                preexec_fn=die_with_us,  # noqa: PLW1509
            )
        Process.running.append(self)

    @property
    def pid(self) -> int:
        return self._child.pid

    def alive(self) -> bool:
        return self._child.poll() is None

    def ensure_alive(self) -> None:
        if not self.alive():
            raise RuntimeError(f"{self.name} exited {self._child.returncode}:\n{self.tail()}")

    def kill(self) -> None:
        """kill -9: no chance to say goodbye."""
        self._end(signal.SIGKILL, timeout_s=10)

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, then the exit code; SIGKILL if it does not go by itself."""
        self.resume()
        return self._end(signal.SIGTERM, timeout_s)

    def pause(self) -> None:
        """Stops it, and returns once every thread stands still: until then it may still do something."""
        self._child.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")

        def stands() -> bool:
            # After the name in brackets comes the state, `T` for one that is stopped.
            stats = [task.joinpath("stat").read_text() for task in tasks.iterdir()]
            return all(stat.rpartition(")")[2].split()[0] in "TtZX" for stat in stats)

        wait_until(stands, f"{self.name} to stand still", every_s=0.001)

    def resume(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end(self, how: signal.Signals, timeout_s: float) -> int:
        self._child.send_signal(how)
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()
        finally:
            if self in Process.running:
                Process.running.remove(self)
                Process.last_words.append((self.name, self.tail()))


@atexit.register
def kill_all(directory: Path | None = None) -> None:
    """Every child that is left, or only those that log to this directory."""
    for process in list(Process.running):
        if directory in (None, process.log.parent):
            process.kill()
