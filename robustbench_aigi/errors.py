"""What can go wrong that a user can mend. Every message says what came, what was expected and what
to type next.

UserError               the request cannot be met (exit code 2)
|-- UnknownName         no component, suite or recipe is called that (also a KeyError)
|-- BadConfig           a suite or recipe does not fit its schema
|-- BadData             a dataset is missing, empty or unreadable
|-- BadCheckpoint       weights do not fit the detector
|-- CannotWrite         the disk is full or does not let itself be written to
|-- WorkersLost         processes that did the work were killed again and again
|-- Unavailable         a hub or an optional package is out of reach
|-- Collapsed           training ended in a detector that says the same of every image
|-- Diverged            a training's loss is no number any more
|-- BadLogits           a detector answered with something that is no number, or that has no slope
`-- BrokenBudget        an attack left its own threat model: its numbers must not be used
"""


class UserError(Exception):
    """The request cannot be met; the message says how to mend it."""


class UnknownName(UserError, KeyError):
    """No component, suite or recipe has this name."""

    def __str__(self) -> str:
        return str(self.args[0])


class BadConfig(UserError):
    """A suite or a recipe does not fit its schema."""


class BadData(UserError):
    """A dataset is missing, empty or unreadable."""


class BadCheckpoint(UserError):
    """Weights do not fit the detector they were given to."""


class CannotWrite(UserError):
    """The disk is full, or a folder does not let itself be written to."""


class WorkersLost(UserError):
    """Processes that did the work were killed, again and again."""


class Unavailable(UserError):
    """A hub or an optional package is out of reach."""


class Collapsed(UserError):
    """Training ended in a detector that says the same of every image."""


class Diverged(UserError):
    """A training's loss is no number any more."""


class BadLogits(UserError):
    """A detector's answer is not a finite logit an image, or has no slope where one is needed."""


class BrokenBudget(UserError):
    """An attack left its own threat model."""
