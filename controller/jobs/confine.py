"""`python -m controller.jobs.confine FD OPTIONS`: takes itself into a sandbox, then serves a module's requests there.

What it gives up, on Linux: every file but the system's libraries, Python and Shoal's own code, all read-only (a new
root, so that the controller's state is not even a name); the network; other processes; its uid, where it is root's; new
privileges; and time, memory, files and processes beyond its limits. Its one writable place is a small /tmp of its own.
It says honestly what it could not give up: the owner decides before it hands anything over.

Until it is inside it imports the standard library only: numpy starts threads, and a process with threads may not enter
a user namespace.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

import controller
import shoal

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUTS: Final = 0x04000000
_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWPID: Final = 0x20000000
_CLONE_NEWNET: Final = 0x40000000
_NAMESPACES: Final = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH: Final = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_SYS_MOUNT_SETATTR: Final = 442  # the same on every architecture
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522
_FIRST_UID: Final = 64_200  # no account of a distribution; one a process, so that two sandboxes cannot touch each other
_UIDS: Final = 1_000
_SYSTEM: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/sys/devices/system/cpu"),
    *("/etc/ld.so.cache", "/etc/alternatives"),  # where Debian says which BLAS the system Python has
)
_HOME: Final = "/tmp"  # noqa: S108 (a file system of its own, in memory)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Serving(Protocol):
    """A module that answers requests inside."""

    def serve(self, connection: socket.socket) -> None:
        """Answer until the connection closes."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the owner asks for.

    Attributes:
        module: Serves inside; of Shoal's own code.
        folder: Holds `root`, an empty folder that becomes the new root, and `inbox`, which is shown read-only: what the
            owner puts there. Goes with the sandbox.
        hidden: What must not be readable inside.
        cpu_s: Processor time of the process's whole life.
        memory_bytes: Address space of each process.
        scratch_bytes: All that its /tmp holds.
        processes: Processes and threads.
    """

    module: str
    folder: str
    hidden: list[str]
    cpu_s: int
    memory_bytes: int
    scratch_bytes: int
    processes: int


def main() -> int:
    """Go in and serve; gives the exit code, 128 + signal where a limit or a crash ended what ran inside."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    options = Options(**json.loads(sys.argv[2]))
    # This process stays outside: where the owner is killed, it clears away what was the owner's to clear away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _end_with_parent(signal.SIGTERM)
    os.umask(0o022)  # the folders of the new root are for another uid
    try:
        return _fork(lambda: _enter(connection, options))
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


def _enter(connection: socket.socket, options: Options) -> int:
    """Go into the namespaces; those of processes begin with the next one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with_parent()
    missing: dict[str, str] = {}
    has_namespaces = _enter_namespaces(missing)
    return _fork(lambda: _init(connection, options, missing, has_namespaces))


def _init(connection: socket.socket, options: Options, missing: dict[str, str], has_namespaces: bool) -> int:
    """Be the first process of the sandbox: when it ends, the kernel ends all others in there."""
    _end_with_parent()
    if has_namespaces:
        try:
            _change_root(options)
        except OSError as error:
            missing["files"] = f"no new root: {error}"
    return _fork(lambda: _serve(connection, options, missing))


def _serve(connection: socket.socket, options: Options, missing: dict[str, str]) -> int:
    _drop_user(missing)
    _limit(options, missing)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _end_with_parent()  # once more: a change of uid takes it back
    _look_around(options, missing)
    os.environ.clear()
    os.environ["HOME"] = _HOME  # libraries look for one, and this uid has none
    from shoal.runtimes.frames import read_frame, write_frame  # numpy comes along

    if read_frame(connection) is None:
        return 0
    write_frame(connection, {"ok": True, "missing": missing})
    module: Serving = import_module(options.module)
    module.serve(connection)
    return 0


def _fork(run: Callable[[], int]) -> int:
    """Run in a child and give its exit code; 128 + signal where a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run()
        finally:
            os._exit(code)
    while True:
        pid, status = os.wait()  # orphans of the sandbox are reaped here too
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _enter_namespaces(missing: dict[str, str]) -> bool:
    uid, gid = os.geteuid(), os.getegid()
    try:
        try:
            _call("unshare", _NAMESPACES)
        except PermissionError:
            _call("unshare", _NAMESPACES | _CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except (OSError, AttributeError) as error:
        for what in ("files", "network", "processes"):
            missing[what] = f"no namespaces: {error}"
        return False
    return True


def _change_root(options: Options) -> None:
    root, inbox = Path(options.folder) / "root", Path(options.folder) / "inbox"
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", str(root), "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    # Before what is shown: Python or Shoal's code may lie below the machine's /tmp.
    (root / "tmp").mkdir()
    _mount("tmpfs", str(root / "tmp"), "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={options.scratch_bytes},mode=1777")
    shown: list[Path] = []
    for path in _visible():
        if not any(path.is_relative_to(other) for other in shown):
            _show(path, root)
            shown.append(path)
    for hidden in map(Path, options.hidden):
        inside = root / hidden.relative_to("/")
        if inside.is_dir():
            _mount("tmpfs", str(inside), "tmpfs", _MS_NOSUID | _MS_NODEV, "size=0,mode=000")
    (root / "dev/shm").mkdir(parents=True)
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _mount(f"/dev/{name}", str(root / "dev" / name), "", _MS_BIND)
    (root / "proc").mkdir()
    with suppress(OSError):  # a container may forbid it; then there is none, which hides more
        _mount("proc", str(root / "proc"), "proc", _MS_NOSUID | _MS_NODEV)
    if not any(inbox.is_relative_to(path) for path in shown):
        _show(inbox, root)
    os.chdir(root)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    _set_attributes("/", _ATTR_RDONLY, is_recursive=False)
    os.chdir(_HOME)


def _visible() -> list[Path]:
    """Give what the sandbox shows: the system's libraries, Python, Shoal's code. Shorter paths first."""
    named = {Path(path) for path in (*_SYSTEM, sys.prefix, sys.base_prefix, *_code())}
    return sorted((path for path in named if path.exists()), key=lambda path: len(path.parts))


def _code() -> list[str]:
    return [str(Path(package.__file__ or "").parent) for package in (controller, shoal)]


def _show(path: Path, root: Path) -> None:
    inside = root / path.relative_to("/")
    inside.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        inside.symlink_to(path.readlink())
        return
    if path.is_dir():
        inside.mkdir(exist_ok=True)
    else:
        inside.touch()
    _mount(str(path), str(inside), "", _MS_BIND | _MS_REC)
    _set_attributes(str(inside), _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, is_recursive=True)


def _drop_user(missing: dict[str, str]) -> None:
    uid = _FIRST_UID + int.from_bytes(os.urandom(4)) % _UIDS
    if os.geteuid() == 0:
        # Without a new root, the libraries must be readable by that uid where they lie.
        if "files" in missing and not _is_readable_by(uid, [sys.prefix, sys.base_prefix, *_code()]):
            missing["user"] = "Python's or Shoal's folder is readable by root alone"
        else:
            try:
                _become(uid)
            except OSError as error:
                missing["user"] = f"no other user: {error}"
    _call("capset", (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _is_readable_by(uid: int, paths: list[str]) -> bool:
    def look() -> int:
        _become(uid)
        return 0 if all(os.access(path, os.R_OK) for path in paths) else 1

    return _fork(look) == 0


def _limit(options: Options, missing: dict[str, str]) -> None:
    limits = {
        resource.RLIMIT_CPU: options.cpu_s,
        resource.RLIMIT_AS: options.memory_bytes,
        resource.RLIMIT_FSIZE: options.scratch_bytes,
        resource.RLIMIT_NPROC: options.processes,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    for limit, wanted in limits.items():
        try:
            _, most = resource.getrlimit(limit)
            least = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            resource.setrlimit(limit, (least, least))
        except (OSError, ValueError) as error:
            missing["limits"] = f"a limit was not taken: {error}"


def _look_around(options: Options, missing: dict[str, str]) -> None:
    """Believe nothing: what must not be there is looked for."""
    readable = [path for path in options.hidden if _has_readable(Path(path))]
    if readable:
        missing["files"] = f"{readable[0]} is readable"
    elif missing.get("files", "").startswith("no namespaces") and "user" not in missing and os.geteuid() >= _FIRST_UID:
        del missing["files"]  # another uid hides it as well
    if "network" not in missing and _has_route():
        missing["network"] = "there is a way out"


def _end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the kernel end this process with the one that started it: so the whole sandbox goes with its owner."""
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _has_readable(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _has_route() -> bool:
    """Tell whether packets would leave. Connecting a datagram socket sends none; the addresses are nobody's.

    Source: RFC 5737 and RFC 3849, addresses for documentation.
    """
    for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return True
    return False


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode())


def _set_attributes(path: str, attributes: int, *, is_recursive: bool) -> None:
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if is_recursive else 0
    _call(
        "syscall",
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        path.encode(),
        ctypes.c_uint(flags),
        wanted,
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main())
