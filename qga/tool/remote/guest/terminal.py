"""The guest's end of a terminal, run by its python3, 3.6 or newer: this package's __init__ describes it.

It is one file, and imports no other, as it is sent to the guest as one text.
"""

import contextlib
import fcntl
import os
import pwd
import select
import signal
import struct
import sys
import termios
import time

MAX_SEGMENTS = 2  # that may be there: then the program waits for the tool to read
REPORT = 1024  # bytes typed that are taken before the tool is told so
GRACE = 2.0  # seconds from SIGHUP to SIGKILL
RETRY = 0.2  # seconds between two tries to write to a full disk
LATE = 0.5  # seconds that output of a program may come after its end
IUTF8 = 0o40000  # termios has no name for it before 3.11
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Screen:
    """What the program wrote, in segments. ``rest``: what has no room yet."""

    def __init__(self, directory: str, segment: int) -> None:
        self.rest = b""
        self._directory, self._segment = directory, segment
        self._number = self._size = self._freed = 0
        self._file = os.open(self._path(0), os.O_WRONLY | os.O_CREAT, 0o600)

    @property
    def complete(self) -> bool:
        """Whether nothing waits, and the last segment is seen to be the last."""
        return not self.rest and self._size < self._segment

    def free(self, number: int) -> None:
        """Remove a segment that was read."""
        self._freed = number + 1
        os.unlink(self._path(number))

    def write(self, data: bytes = b"") -> None:
        """Write as much as there is room for; the rest waits."""
        self.rest += data
        try:
            while self._advance() and self.rest:
                count = os.write(self._file, self.rest[: self._segment - self._size])
                self.rest = self.rest[count:]
                self._size += count
        except OSError:  # the disk is full: tried again
            pass

    def _advance(self) -> bool:
        """Return whether there is room in this segment, or in the next, made as soon as this one is full."""
        if self._size < self._segment:
            return True
        if self._number + 1 - self._freed >= MAX_SEGMENTS:
            return False
        following = os.open(self._path(self._number + 1), os.O_WRONLY | os.O_CREAT, 0o600)
        os.close(self._file)
        self._file, self._size, self._number = following, 0, self._number + 1
        return True

    def _path(self, number: int) -> str:
        return f"{self._directory}/out.{number}"


class Terminal:
    """A program on a pty. ``typed``: what it has not taken yet."""

    def __init__(self, master: int, child: int, directory: str) -> None:
        self.master, self.child = master, child
        self.typed = b""
        self._taken = self._reported = 0
        self._counter = os.open(directory + "/taken", os.O_WRONLY | os.O_APPEND)

    def type(self) -> None:
        """Give the program what was typed, as far as it takes it."""
        try:
            count = os.write(self.master, self.typed)
        except BlockingIOError:
            return
        except OSError:  # the program has gone: nobody takes it any more
            count = len(self.typed)
        self.typed = self.typed[count:]
        self._taken += count
        if self._taken - self._reported >= REPORT:
            os.write(self._counter, b"%d\n" % self._taken)
            self._reported = self._taken

    def end(self) -> None:
        """Send SIGHUP to all of the session, and SIGKILL to those that neither end nor ignore it, as nohup does."""
        for pid in self._members():
            kill(pid, signal.SIGHUP)
            kill(pid, signal.SIGCONT)
        os.close(self.master)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and self._members():
            time.sleep(0.02)
        for pid in self._members():
            kill(pid, signal.SIGKILL)

    def _members(self) -> "list[int]":
        """Return the processes of the program's session that live: proc(5), stat and status."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rsplit(b")", 1)[1].split()
                with open(f"/proc/{name}/status", "rb") as file:
                    ignored = int(file.read().split(b"\nSigIgn:")[1].split()[0], 16)
            except (OSError, IndexError):
                continue
            nohup = ignored >> (signal.SIGHUP - 1) & 1 and int(name) != self.child
            if int(fields[3]) == self.child and fields[0] != b"Z" and not nohup:
                found.append(int(name))
        return found


def resize(master: int, rows: int, columns: int) -> None:
    """Set the terminal's size."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def kill(pid: int, number: int) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def locale() -> str:
    """Return the LANG that the guest's own logins get."""
    for path in ("/etc/default/locale", "/etc/locale.conf"):
        try:
            with open(path) as file:
                for line in file:
                    if line.startswith("LANG="):
                        return line[5:].strip().strip("\"'")
        except (OSError, UnicodeError):
            pass
    return "C.UTF-8"


def find(program: str, path: str) -> str:
    """Return the path of a program: os.execvpe would import modules, which the user may not be allowed to read."""
    if "/" in program:
        return program
    places = (place + "/" + program for place in path.split(":"))
    return next((place for place in places if os.access(place, os.X_OK)), program)


def begin(user: str, pairs: "list[str]", words: "list[str]", name: str) -> None:
    """Become the program, in the child. ``words`` empty: the user's login shell."""
    os.setsid()
    slave = os.open(name, os.O_RDWR)  # a session's leader gets it as its terminal
    modes = termios.tcgetattr(slave)
    modes[0] |= IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    for number in range(3):
        os.dup2(slave, number)
    os.closerange(3, 1024)
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)
    entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    shell = entry.pw_shell or "/bin/sh"
    if entry.pw_uid != os.getuid():
        os.fchown(0, entry.pw_uid, -1)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    try:
        os.chdir(entry.pw_dir)
    except OSError:
        os.chdir("/")
    env = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": shell, "PATH": PATH}
    env["LANG"] = locale()
    for pair in pairs:
        variable, _, value = pair.partition("=")
        env[variable] = value
    if words:
        os.execve(find(words[0], env["PATH"]), words, env)
    os.execve(shell, ["-" + os.path.basename(shell)], env)


def start(user: str, pairs: "list[str]", words: "list[str]", rows: int, columns: int, directory: str) -> Terminal:
    """Start the program on a new pty."""
    master, slave = os.openpty()
    resize(master, rows, columns)
    child = os.fork()
    if not child:
        try:
            begin(user, pairs, words, os.ttyname(slave))
        except KeyError:
            os.write(2, f"qga: the guest has no user {user}\r\n".encode())
        except OSError as error:
            os.write(2, f"qga: {error.filename or words[:1]}: {error.strerror}\r\n".encode())
        os._exit(127)
    os.close(slave)
    os.set_blocking(master, False)
    return Terminal(master, child, directory)


def obey(line: bytes, terminal: Terminal, screen: Screen) -> bool:
    """Carry out a line of the tool's; return whether to go on."""
    words = line.split()
    if line.startswith(b"d"):
        terminal.typed += bytes(int(octal, 8) for octal in line.split(b"\\")[1:])
    elif line.startswith(b"s"):
        resize(terminal.master, int(words[1]), int(words[2]))
    elif line.startswith(b"a"):
        screen.free(int(words[1]))
    return line != b"q"


def serve(terminal: Terminal, screen: Screen, keys: int, signals: int, linger: float) -> "int | None":
    """Return the program's wait status once all that it wrote is in the files; None if it is to be ended."""
    status, lines, heard = None, b"", time.monotonic()
    showing = True
    while showing or status is None or not screen.complete:
        readable = [keys, signals] + ([terminal.master] if showing and not screen.rest else [])
        left = heard + linger - time.monotonic()
        pause = RETRY if screen.rest else 60.0 if status is None else LATE
        if left <= 0:
            return None
        writable = [terminal.master] if terminal.typed else []
        ready, _, _ = select.select(readable, writable, [], min(left, pause))
        if signals in ready and set(os.read(signals, 100)) - {signal.SIGCHLD}:
            return None
        if keys in ready:
            heard = time.monotonic()
            *complete, lines = (lines + os.read(keys, 65536)).split(b"\n")
            if not all(obey(line, terminal, screen) for line in complete):
                return None
        if terminal.typed:
            terminal.type()
        if terminal.master in ready:
            try:
                screen.write(os.read(terminal.master, 65536))
            except OSError:  # EIO: nobody has the terminal open any more
                showing = False
        elif screen.rest or not screen.complete:
            screen.write()
        elif status is not None and not ready:
            showing = False
        if status is None:
            pid, ended = os.waitpid(terminal.child, os.WNOHANG)
            status = ended if pid else None
    return status


def clean_up_after(directory: str, linger: float) -> None:
    """Remove the directory, in a process of its own, if the tool does not when it has read the rest."""
    if os.fork():
        return
    deadline = time.monotonic() + linger
    while time.monotonic() < deadline and os.path.exists(directory):
        time.sleep(RETRY)
    remove(directory)
    os._exit(0)


def remove(directory: str) -> None:
    """Remove the directory and the files in it, as far as it is there."""
    try:
        for name in os.listdir(directory):
            os.unlink(directory + "/" + name)
        os.rmdir(directory)
    except OSError:
        pass


def main(directory: str, linger: str, segment: str, rows: str, columns: str, user: str, *rest: str) -> int:
    """Run a program on a terminal. ``rest``: how many NAME=VALUE follow, they, and the program with its arguments."""
    pairs, words = list(rest[1 : 1 + int(rest[0])]), list(rest[1 + int(rest[0]) :])
    signals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    keys = os.open(directory + "/in", os.O_RDWR | os.O_NONBLOCK)  # never at its end
    screen = Screen(directory, int(segment))
    terminal = start(user, pairs, words, int(rows), int(columns), directory)
    status = serve(terminal, screen, keys, signals, float(linger))
    if status is None:
        terminal.end()
        remove(directory)
        return 128 + signal.SIGHUP
    clean_up_after(directory, float(linger))
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
