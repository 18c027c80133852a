"""Which image files a folder or a zip file holds, and how to read the bytes of each.

The same rules for both, but for runs and links, which are in folders only:

* Folders within folders are looked into, to any depth.
* An image file is one whose name ends in one of EXTENSIONS, in capitals or not.
* Hidden files and folders (``.name``, ``__MACOSX``) are left out.
* So are folders of runs within a folder: what they hold was drawn, not photographed.
* Links are followed, but each real folder is entered once, and none that the listed folder lies in,
  so that loops end. Links that lead nowhere, pipes, sockets and devices are left out and counted.
* The order is that of the names, folder by folder.

A zip file is read in memory: nothing is unpacked to disk, so names such as ``../x.png`` lead nowhere.
All sizes are looked at before a byte is inflated.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from minigan.data.idx import folder_contents, shown
from minigan.errors import DataError

EXTENSIONS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
    ".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".pcx", ".jp2", ".j2k", ".jpx", ".avif", ".qoi",
)  # fmt: skip
OF_A_RUN = {"config.toml", "checkpoints", "samples"}  # see minigan.runs.folder
MAX_FILE = 2**28  # bytes of one image file; no photograph comes near
# A zip file may grow to 1 GiB, and beyond that 100 times: images hardly shrink when they are zipped.
ZIP_FREE, ZIP_RATIO = 2**30, 100
# LZMA and bzip2 can set aside gigabytes on the word of a few bytes, and nobody zips images with them.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Parts = tuple[str, ...]


class Unreadable(Exception):
    """One image that cannot be had; the message is the reason. It is skipped and counted."""


@dataclass(frozen=True)
class File:
    """An image file: where it lies, and how to get its bytes (raises Unreadable)."""

    parts: Parts  # ("cats", "1.png")
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """For a message: quoted, with line breaks and undecodable bytes escaped."""
        return repr("/".join(self.parts))


@dataclass
class Listing:
    """What was found under a folder or in a zip file."""

    where: str  # for messages
    files: list[File] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # names without an image's extension
    special: int = 0  # link loops, dead links, pipes, sockets, devices
    runs: int = 0  # folders of runs

    def add(self, parts: Parts, read: Callable[[], bytes]) -> None:
        """Take a file in, by its extension."""
        if _is_image(parts):
            self.files.append(File(parts, read))
        else:
            self.others.append("/".join(parts))


def list_images(path: Path) -> Listing:
    """List a folder or a zip file (told by content, not by name).

    Raises DataError: no such path, neither of the two, a folder that cannot be listed, a zip file that is
    damaged, encrypted, a bomb or packed by a rare method, and a path without any image file; it then names
    the extensions searched and three of the names found.
    """
    if os.path.isdir(path):
        listing = _list_folder(path)
    elif os.path.isfile(path):  # keeps out pipes and devices
        listing = _list_zip(path)
    elif os.path.lexists(path):
        raise DataError(f"{shown(path)} is neither a folder nor a zip file")
    else:
        raise DataError(f"no folder or zip file {shown(path)}: {folder_contents(path.parent)}")
    if not listing.files:
        found = ", ".join(map(repr, listing.others[:3])) or (
            "folders of runs, which are left out" if listing.runs else "nothing that is not hidden"
        )
        more = f" and {len(listing.others) - 3} more" if len(listing.others) > 3 else ""
        raise DataError(
            f"no images in {listing.where}: no name ends in {', '.join(EXTENSIONS)}; found there: {found}{more}"
        )
    listing.files.sort(key=lambda file: file.parts)
    return listing


def _is_image(parts: Parts) -> bool:
    return parts[-1].lower().endswith(EXTENSIONS)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _list_folder(root: Path) -> Listing:
    listing = Listing(f"folder {shown(root)}")
    waiting: list[tuple[Parts, str]] = [((), str(root))]
    entered = _known_folders(root)
    while waiting:
        above, folder = waiting.pop()
        entries = _entries(folder)
        if above and {entry.name for entry in entries} >= OF_A_RUN:
            listing.runs += 1
            continue
        for entry in entries:
            parts = (*above, entry.name)
            try:
                status = os.stat(entry.path)  # of what a link leads to; entry.stat() tells no st_ino on Windows
            except OSError:  # a dead link, a loop of links
                listing.special += 1
                continue
            identity = (status.st_dev, status.st_ino or os.path.realpath(entry.path))  # 0: on some drives of a network
            if stat.S_ISREG(status.st_mode):
                listing.add(parts, partial(_read_file, entry.path))
            elif stat.S_ISDIR(status.st_mode) and identity not in entered:
                entered.add(identity)
                waiting.append((parts, entry.path))
            else:
                listing.special += 1
    return listing


def _known_folders(root: Path) -> set[tuple[int, int | str]]:
    """The folder and all those it lies in: a link to one of them would lead back here."""
    known: set[tuple[int, int | str]] = set()
    real = Path(os.path.realpath(root))
    for folder in (real, *real.parents):
        try:
            status = os.stat(folder)
        except OSError:  # not ours to look at, so no link can lead there either
            continue
        known.add((status.st_dev, status.st_ino))
    return known


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is not hidden, in the order of the names. Raises DataError."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not _hidden(e.name)), key=lambda e: e.name)
    except OSError as err:
        raise DataError(f"folder {shown(Path(folder))} cannot be listed: {err.strerror or err}") from err


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE:
                raise Unreadable(f"{size} bytes, allowed are {MAX_FILE}")
            return file.read()
    except OSError as err:
        raise Unreadable(err.strerror or str(err)) from err


def _list_zip(path: Path) -> Listing:
    listing = Listing(f"zip file {shown(path)}")
    archive = _open_zip(path)
    lock = Lock()  # a ZipFile counts its readers without one
    members = list(_members(archive, listing))
    images = [member for member in members if _is_image(_member_parts(member))]  # all that will be read
    _check_sizes(images, os.path.getsize(path), listing.where)
    for member in members:
        listing.add(_member_parts(member), partial(_read_member, archive, member, lock))
    return listing


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as err:
        raise DataError(f"{shown(path)} cannot be read: {err.strerror or err}") from err
    except Exception as err:  # a damaged directory gives BadZipFile, but also struct.error, ValueError and more
        raise DataError(f"{shown(path)} is neither a folder nor a zip file that can be read: {one_line(err)}") from err


def _members(archive: zipfile.ZipFile, listing: Listing) -> Iterator[zipfile.ZipInfo]:
    """The ordinary files in a zip file; counts the special ones."""
    for member in archive.infolist():
        parts = _member_parts(member)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if not parts or member.is_dir() or any(map(_hidden, parts)):  # is_dir fails on an empty name
            continue
        if kind in (0, stat.S_IFREG):
            yield member
        else:
            listing.special += 1


def _member_parts(member: zipfile.ZipInfo) -> Parts:
    """The path of a member without what leads upwards or to the root."""
    return tuple(part for part in member.filename.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _check_sizes(members: list[zipfile.ZipInfo], zipped: int, where: str) -> None:
    """Refuse what cannot or should not be inflated. Raises DataError."""
    for member in members:
        name = repr(member.filename)
        if member.flag_bits & 1:
            raise DataError(f"{where} is encrypted ({name}): give one without a password")
        if member.compress_type not in ZIP_METHODS:
            raise DataError(f"{where}: {name} is packed by method {member.compress_type}; stored and deflate are read")
        if member.file_size > MAX_FILE:
            raise DataError(f"{where}: {name} claims {member.file_size} bytes, allowed are {MAX_FILE} for one file")
    total = sum(member.file_size for member in members)
    if total > max(ZIP_FREE, ZIP_RATIO * zipped):
        raise DataError(
            f"{where} of {zipped} bytes claims to hold {total} bytes: that is a bomb, not a collection of images"
        )


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, lock: Lock) -> bytes:
    try:
        with lock:
            return archive.read(member)  # no more than the size that was checked
    except Exception as err:  # damaged members give BadZipFile, zlib.error, EOFError, struct.error and more
        raise Unreadable(f"damaged: {one_line(err)}") from err


def one_line(err: Exception) -> str:
    """What an error says, fit for one line."""
    text = repr(str(err))[1:-1]
    return text[:100] or type(err).__name__
