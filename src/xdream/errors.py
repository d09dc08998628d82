"""Every error that XDream raises on purpose: one tree, each message with the value and the remedy."""

#: Exit status of the command line after Ctrl-C or SIGTERM.
INTERRUPTED = 130


class XDreamError(Exception):
    """Base of all of XDream's errors. `exit_status` is what the command line ends with."""

    exit_status = 2


class BadInput(XDreamError, ValueError):
    """A value that the user gave cannot be used; nothing was started."""


class InUse(BadInput):
    """A folder or port that another program holds, most likely a session that is running."""


class UnknownName(BadInput):
    """A name that no registry holds; the message lists the near ones."""


class WeightsMissing(BadInput):
    """A weights file was not found; the message says which, from where and into which folder."""


class WeightsInvalid(BadInput):
    """A weights file is truncated, of the wrong shape, of the wrong hash, or unsafe to load."""


class StoreError(XDreamError):
    """The store cannot be opened, read or written."""


class StoreFull(StoreError):
    """The disk is full; what was to be written is not lost, and can be written when there is room."""


class StoreBusy(StoreError):
    """Another living process writes to this experiment."""


class SubjectError(XDreamError):
    """The subject failed while it was being shown images."""

    exit_status = 3


class SubjectSilent(SubjectError):
    """The subject did not answer in time."""


class RigError(XDreamError):
    """The medium to a rig failed: its folder is gone, its port is closed. A session goes on trying."""

    exit_status = 3


class Interrupted(XDreamError):
    """A stop was asked for, and what was done is saved; the same command, or resuming, goes on."""

    exit_status = INTERRUPTED


class ClusterLost(XDreamError):
    """The workers that shards run on, or who hands them out, are gone. What was finished stays finished."""

    exit_status = 3
