"""The exceptions of this package. Each message is one line that a user can act on.

The text says what was expected, what was found, where, and how to mend it. Only the command line
prints it and turns `exit_code` into the exit status.
"""

_LONGEST = 1000  # characters


def printable(text: str) -> str:
    """A text with what cannot be printed, line breaks too, as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class DeltaError(Exception):
    """Base of every error that is somebody's to mend; `exit_code` is what a command ends with."""

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        """message: made one printable line, whatever the file names and contents that it quotes hold."""
        super().__init__(printable(" ".join(message.split())[:_LONGEST]))


class ModelFileError(DeltaError):
    """A model file that cannot be trusted or used."""


class ManifestError(DeltaError):
    """A manifest that does not describe a potential."""


class GeometryError(DeltaError):
    """Positions that cannot be this molecule: wrong shape, unit, order, or not finite."""

    exit_code = 6


class NonFiniteError(DeltaError):
    """The model gave an energy or a force that is not a number."""

    exit_code = 7


class InputError(DeltaError):
    """A file, an option or an address that cannot be used."""


class ServerError(DeltaError):
    """The other end of the socket: base class."""

    exit_code = 8


class NoServerError(ServerError):
    """Nobody listened at the address before the deadline."""

    exit_code = 3


class ServerClosedError(ServerError):
    """The server closed the connection between two requests without EXIT."""

    exit_code = 4


class ServerLostError(ServerError):
    """The connection broke in the middle of a message or was reset."""

    exit_code = 5


class ProtocolError(ServerError):
    """The server says something that is not i-PI's protocol, or not the mode it was taken for."""

    exit_code = 8


class RunError(DeltaError):
    """i-PI, or every driver of a supervised run, ended before its time."""

    exit_code = 9
