"""What several tests look at and takes seconds to make: made once a session, read-only."""

from functools import cache

from training.synthesis.phantom import Phantom, demo_phantom


@cache
def demo_study() -> Phantom:
    """The study of ``cspine demo``."""
    phantom = demo_phantom()
    for array in (phantom.hu, phantom.labels, phantom.fracture):
        array.setflags(write=False)
    return phantom
