"""The errors a user can cause. Each says what was wrong, which value, and what to do."""


class CnfError(ValueError):
    """Base of all expected errors; the command line prints it as one line and exits with 2."""


class ConfigError(CnfError):
    """A configuration key or value that does not fit."""


class DataError(CnfError):
    """A picture, label, folder or data set that cannot be used."""


class CheckpointError(CnfError):
    """A file of weights or training state that cannot be used."""


class TrainingError(CnfError):
    """A training run that had to stop (non-finite loss, folder in use, no such device)."""


class ResultsError(CnfError):
    """A number, or a claim, that does not fit the others in `results/`."""
