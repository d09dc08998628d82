"""The record of an experiment: one SQLite file, one writer, any number of readers."""

from xdream.store.base import AskedRow, PresentationRow, RunRow, ShownRow, ToldRow
from xdream.store.record import EventRecord, ImageRecord, Record, RunRecord
from xdream.store.sqlite import FILE_NAME, LOCK_NAME, Store, check_new, code_of, locked, notes_on
from xdream.store.writer import Writer

__all__ = [
    "FILE_NAME",
    "LOCK_NAME",
    "AskedRow",
    "EventRecord",
    "ImageRecord",
    "PresentationRow",
    "Record",
    "RunRecord",
    "RunRow",
    "ShownRow",
    "Store",
    "ToldRow",
    "Writer",
    "check_new",
    "code_of",
    "locked",
    "notes_on",
]
