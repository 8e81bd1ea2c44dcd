"""Files in the state directory: opened so that nothing which somebody else put there is followed or believed.

An archive may bring a state directory along, and the names of runs can be computed. So no link is followed, a file has one name and
is a file, and it belongs to whoever runs this.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from bulkup.errors import BulkupError, JournalUnusable, LocalDisk
from bulkup.light_dataclass import dataclass

__all__ = [
    "NO_LOCKS",
    "Filesystem",
    "check_files",
    "check_folder",
    "filesystem_of",
    "make_folder",
    "mounted_at",
    "name_of",
    "open_in",
    "read_in",
    "refused",
    "warning_of",
]

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What a filesystem without locks answers: Lustre mounted without `flock`, NFS without a lock server, some of FUSE."""

NETWORKED = frozenset(
    {
        "nfs",
        "nfs4",
        "lustre",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "gpfs",
        "beegfs",
        "afs",
        "9p",
        "ocfs2",
        "gfs2",
        "pvfs2",
        "panfs",
    }
)
"""Kinds of filesystem whose files several machines may have open at once."""

LOCKS_OF_ONE_MACHINE = frozenset({"localflock", "nolock", "local_lock=all", "local_lock=flock"})
"""Mount options of Lustre and NFS under which a lock is unknown to other machines."""

_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe without a reader must not hang


@dataclass(frozen=True, slots=True)
class Filesystem:
    """*kind* as the kernel calls it, where it is mounted, and with which options."""

    kind: str
    mount_point: str
    options: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"the filesystem at {self.mount_point} ({self.kind})"

    @property
    def is_networked(self) -> bool:
        """Other machines may have its files open: shared memory does not reach them."""
        return self.kind in NETWORKED or self.kind.startswith("fuse.")

    @property
    def has_locks_of_one_machine(self) -> bool:
        """A lock keeps out processes of this machine only."""
        return bool(self.options & LOCKS_OF_ONE_MACHINE)


UNKNOWN = Filesystem("kind unknown", "?")


def mounted_at(mounts: str, path: str) -> Filesystem:
    """The filesystem of *path* (absolute, without links), by *mounts*, which has the form of `/proc/self/mountinfo` (proc(5))."""
    found = UNKNOWN
    longest = -1
    for line in mounts.splitlines():
        front, _, back = line.partition(" - ")
        fields, kinds = front.split(), back.split()
        if len(fields) < 6 or not kinds:
            continue
        mount = fields[4]
        if "\\" in mount:  # a blank is \040
            mount = mount.encode("latin-1", "replace").decode("unicode_escape")
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= longest:  # of two at one place the later one hides the other
            options = frozenset(fields[5].split(",")) | frozenset(kinds[2].split(",") if len(kinds) > 2 else ())
            found, longest = Filesystem(kinds[0], mount, options), len(mount)
    return found


def filesystem_of(path: Path) -> Filesystem:
    """The filesystem on which *path* is, or would be."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return UNKNOWN
    return mounted_at(mounts, os.path.realpath(path))


def name_of(uid: int) -> str:
    """A user for a person: a name, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def refused(path: Path, error: OSError) -> BulkupError:
    """The one line for what the system said of *path*, and what to do. None of it is to begin the run anew."""
    said = error.strerror or str(error)
    again = "then run the same command"
    match error.errno:
        case errno.ELOOP:
            return _linked(path)
        case errno.ENOSPC | errno.EDQUOT:
            return LocalDisk(f"{path}: {said}; free some space, {again}")
        case errno.EFBIG:
            return LocalDisk(f"{path}: {said}; raise the limit on the size of files (ulimit -f), {again}")
        case errno.EROFS:
            return LocalDisk(
                f"{path}: {said}: {filesystem_of(path)}; make it writable, or copy the whole state directory to another place "
                "and name that with --state-dir"
            )
        case errno.EACCES | errno.EPERM:
            return LocalDisk(
                f"{path}: {said}{_whose(path)}; run as that user, or give this one the right to it, {again}"
            )
        case errno.EMFILE:
            return LocalDisk(f"{path}: {said}; raise this process's limit on open files (ulimit -n), {again}")
        case errno.ENFILE:
            return LocalDisk(f"{path}: {said}, in all of this machine; wait until there are fewer, {again}")
        case number if number in NO_LOCKS:
            return LocalDisk(
                f"{path}: {filesystem_of(path)} has no locks ({said}), so nothing keeps a second process out; mount it with locks "
                "(such as -o flock), or move the whole state directory to a local disk and name that with --state-dir"
            )
        case errno.EIO | errno.ESTALE | errno.ENODEV | errno.ENXIO | errno.ETIMEDOUT:
            return LocalDisk(f"{path}: {said}: {filesystem_of(path)}; check that disk, {again}")
    return LocalDisk(f"{path}: {said}; check the state directory")


def make_folder(path: Path) -> None:
    """Make *path*, the owner's alone, if it is not there. Raises `LocalDisk`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:  # a file, or a link to nowhere
        raise _planted(path, "is not a folder") from None
    except OSError as error:
        raise refused(Path(error.filename or path), error) from None


def check_folder(folder: Path) -> None:
    """Raise `JournalUnusable` where *folder* is not this user's alone to write in; `FileNotFoundError`, `LocalDisk`."""
    at = _entered(folder, is_read=False)
    try:
        shared = stat.S_IMODE(os.fstat(at).st_mode) & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH | stat.S_ISVTX
        if shared and _keeps_owners(at):
            raise _untrusted(folder, "is a place where every user of this machine may put files")
    finally:
        os.close(at)


def warning_of(folder: Path) -> str | None:
    """What a person should know about the filesystem of *folder*, which exists: None if nothing."""
    filesystem = filesystem_of(folder)
    if filesystem.has_locks_of_one_machine:
        return f"{filesystem} keeps locks within one machine (its mount options say so): go on with this run from one machine only"
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)
        try:
            if _objection(os.fstat(fd), is_read=False) and not _keeps_owners(fd):
                return (
                    f"{filesystem} keeps no owners and modes: whoever can reach {folder} can read and change this run"
                )
        finally:
            os.close(fd)
    return None


def open_in(folder: Path, name: str, flags: int) -> int:
    """A descriptor of the file *name* in *folder*, which may be made with 0600 (`O_CREAT`). Nothing is followed or waited for.

    Raises `JournalUnusable` where one of them is not what bulkup makes, `FileNotFoundError`, `LocalDisk` for anything else.
    """
    is_read = flags & (os.O_WRONLY | os.O_RDWR) == 0
    path = folder / name
    at = _entered(folder, is_read=is_read)
    try:
        with suppress(FileNotFoundError):  # before it is opened: to open a device may do something
            _check(path, os.stat(name, dir_fd=at, follow_symlinks=False), at, is_read=is_read)
        fd = os.open(name, flags | _SAFELY, 0o600, dir_fd=at)
        try:
            _check(path, os.fstat(fd), at, is_read=is_read)
        except BaseException:
            os.close(fd)
            raise
        return fd
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(path, error) from error
    finally:
        os.close(at)


def read_in(folder: Path, name: str) -> bytes | None:
    """All of the file *name* in *folder*, None if there is none. Raises as `open_in`."""
    try:
        fd = open_in(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        with os.fdopen(fd, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise refused(folder / name, error) from error


def check_files(folder: Path, names: tuple[str, ...], *, is_read: bool) -> None:
    """Raise `JournalUnusable` where *folder*, or one of *names* in it, is not what bulkup makes: for who opens them by name."""
    at = _entered(folder, is_read=is_read)
    try:
        for name in names:
            with suppress(FileNotFoundError):
                _check(folder / name, os.stat(name, dir_fd=at, follow_symlinks=False), at, is_read=is_read)
    except OSError as error:
        raise refused(folder, error) from error
    finally:
        os.close(at)


def _entered(folder: Path, *, is_read: bool) -> int:
    """A descriptor of *folder*, which is no link and is to be trusted."""
    try:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)
    except FileNotFoundError:
        raise
    except NotADirectoryError:  # of a link too, where only a folder is asked for
        raise (_linked(folder) if folder.is_symlink() else _planted(folder, "is not a folder")) from None
    except OSError as error:
        raise refused(folder, error) from error
    try:
        objection = _objection(os.fstat(at), is_read=is_read)
        if objection and not _is_excused(at, is_read=is_read):
            raise _untrusted(folder, objection)
    except BaseException:
        os.close(at)
        raise
    return at


def _check(path: Path, found: os.stat_result, at: int, *, is_read: bool) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _linked(path)
    if (what := _oddity(found)) is not None:
        raise _planted(path, what)
    if found.st_nlink > 1:
        raise _named_twice(path)
    objection = _objection(found, is_read=is_read)
    if objection and not _is_excused(at, is_read=is_read):
        raise _untrusted(path, objection)


def _oddity(found: os.stat_result) -> str | None:
    """What is wrong with a file that bulkup should have made; None if nothing."""
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        return f"is {kinds.get(stat.S_IFMT(found.st_mode), 'a device')}, not a file"
    return None


def _objection(found: os.stat_result, *, is_read: bool) -> str | None:
    """Why what *found* describes is not to be trusted, None if it is. Only to read, the administrator is trusted."""
    me = os.geteuid()
    if found.st_uid != me and not (is_read and found.st_uid == 0):
        return f"belongs to {name_of(found.st_uid)}, and this process is {name_of(me)}"
    if (
        stat.S_IMODE(found.st_mode) & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH
    ):  # under a sticky bit files keep their owners
        return "may be written by every user of this machine"
    return None


def _is_excused(at: int, *, is_read: bool) -> bool:
    """Whether owners and modes say nothing here: nobody can write, or the filesystem keeps none (FAT, some of FUSE and CIFS)."""
    if is_read and os.fstatvfs(at).f_flag & os.ST_RDONLY:
        return True
    return not _keeps_owners(at)


def _keeps_owners(at: int) -> bool:
    """Whether a file made in the folder *at* has the owner and the mode that were asked for."""
    name = f".bulkup-{secrets.token_hex(8)}"
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600, dir_fd=at)
    except OSError:
        return True
    try:
        made = os.fstat(fd)
        return made.st_uid == os.geteuid() and not made.st_mode & 0o077
    finally:
        os.close(fd)
        os.unlink(name, dir_fd=at)


def _whose(path: Path) -> str:
    """Who owns what could not be opened: it, or the nearest folder above it that can be seen."""
    for place in (path, *path.parents):
        with suppress(OSError):
            return f" ({place} belongs to {name_of(place.stat(follow_symlinks=False).st_uid)}, this is {name_of(os.geteuid())})"
    return ""


def _planted(path: Path, what: str) -> JournalUnusable:
    return JournalUnusable(
        f"{path} {what}: bulkup did not make it. Find out how it got there, and restore the folder from a copy"
    )


def _linked(path: Path) -> JournalUnusable:
    return JournalUnusable(
        f"{path} is a link that bulkup did not make, and bulkup follows none here. If you did, put what it leads to in its place; "
        "if it came with something else, such as an archive, restore the folder from a copy"
    )


def _named_twice(path: Path) -> JournalUnusable:
    """Not refused for good: a backup by `cp -al` or rsnapshot names each file twice. To remove the file would lose the journal."""
    return JournalUnusable(
        f"{path} has a second name somewhere (a hard link, as backups make them), so what is written here is written there. Put a "
        f"copy of the whole folder in its place (cp -a {path.parent} COPY, then move COPY there) and run the same "
        "command"
    )


def _untrusted(path: Path, objection: str) -> JournalUnusable:
    return JournalUnusable(
        f"{path} {objection}, so bulkup does not trust what is in it. If it is yours, make the whole state directory yours "
        "alone (chown -R, chmod -R go-w) and run the same command; if it came with something else, such as an archive, do not use "
        "it: name another --state-dir"
    )
