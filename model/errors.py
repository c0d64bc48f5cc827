"""What can go wrong with a bundle or a prediction; ``permanent`` says whether trying again may help."""


class ModelError(Exception):
    """The root of this package's errors."""

    permanent = True


class BundleError(ModelError):
    """A bundle is missing, damaged or not understood: refuse to start."""


class UnusableVolume(ModelError):
    """The array given to the predictor is no volume that it can work on."""


class PredictorOutOfMemory(ModelError):
    """The accelerator's memory did not suffice, even for half the batch; another moment may do."""

    permanent = False


class UnusableImage(ModelError):
    """What was given is no image that can be worked on: too large, too small, empty, damaged or in another format."""
