"""Every error raised on purpose, sorted by what the catcher should do next: retry, tell a person, or stop."""


class AuditorError(Exception):
    """Raise a leaf, catch a branch."""


class Retryable(AuditorError):
    """The same call may succeed later."""


class NeedsOperator(AuditorError):
    """A person must change something; `hint` says what."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Defect(AuditorError):
    """Our own bug, or bytes that nobody should have sent: stop, or set the bytes aside with a reason."""


class SideUnavailable(Retryable):
    """The source or the target cannot be reached."""


class StoreUnavailable(Retryable):
    """Kafka or the records store cannot be reached."""


class NotReady(Retryable):
    """The other part has not come far enough; ask again."""


class PositionLost(NeedsOperator):
    """The WAL after a position is gone; only a new baseline helps."""


class SettingInvalid(NeedsOperator):
    """A setting cannot be used as it is."""


class NotPermitted(NeedsOperator):
    """The database role lacks a right."""


class NotInstalled(NeedsOperator):
    """A program or package that this command needs is missing."""


class NotComparable(Defect):
    """Two observations do not describe the same thing."""


class PoisonFrame(Defect):
    """A frame cannot be decoded."""


class ProtocolViolation(Defect):
    """The server sent bytes that the logical replication protocol does not allow; the text names the position."""


def told_of(error: Exception) -> str:
    """Say what went wrong; of an error that is not ours only its kind, as its text may hold anything."""
    return f"{type(error).__name__}: {error}" if isinstance(error, AuditorError) else type(error).__name__
